"""MLaaS4HEP's own files – files.txt, labels.txt, params.json, preproc.json or .py, global-specs.json – as a config.

They become a :class:`~utils.preprocessing.spec.PreprocessSpec` like any other before a single event is selected.
"""
