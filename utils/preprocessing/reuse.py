"""Skims that are made only where they are not there; those that are must be what the config would make."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

from utils.errors import SkimError
from utils.logs import get_logger
from utils.preprocessing.flow import PreprocessResult, run_preprocessing
from utils.preprocessing.inputs import open_inputs
from utils.preprocessing.mlaas4hep.build import MADE_FROM, listed_files, made_from
from utils.preprocessing.nodes import output_file
from utils.preprocessing.parts import HOW
from utils.preprocessing.spec import PreprocessSpec
from utils.readers.reader import Fingerprint
from utils.readers.skim import SkimFile

logger = get_logger(__name__)

# Keys that do not change what is in a skim: how it is made, and what is only carried along.
_FREE = {*HOW, "train_params", "vars", "year", "output_path", "mlaas4hep"}


def skims_at_hand(spec: PreprocessSpec, config: Mapping[str, Any]) -> PreprocessResult | None:
    """Make the training skims; None where they are there already, from the same config and the same inputs.

    Raises
    ------
    SkimError : they are there, and were made from something else.
    CrossfoldError : as `run_preprocessing`.
    """
    paths = [output_file(spec, node) for node in spec.output_samples]
    if spec.overwrite is True or not all(path.is_file() for path in paths):
        return run_preprocessing(spec, config)
    with SkimFile(paths[0]) as skim:
        differing = _differing(spec, config, skim.metadata)
    if differing:
        raise SkimError(
            f"these skims were made from something else: {'; '.join(differing[:3])}",
            where=spec.output_path,
            remedy="Set training_data.overwrite=true to make them again, or training_data.output_path to keep both.",
        )
    logger.info("the skims in %s are used again", spec.output_path)
    return None


def _differing(spec: PreprocessSpec, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str]:
    """What was different when the skim was made, in words."""
    recorded = metadata["config"]
    if spec.mlaas4hep is None:
        found = [f"{key} was {recorded.get(key)!r}" for key in _changed(config, recorded, config.keys() - _FREE)]
        with closing(open_inputs(spec)) as inputs:
            return found or _other_files({file.path: file.fingerprint for file in inputs.files}, metadata)
    before = (recorded.get("vars") or {}).get(MADE_FROM)
    if before is None:
        return ["not from MLaaS4HEP's files"]
    found = [f"{key} differs" for key in _changed(made_from(spec.mlaas4hep), before, before.keys())]
    found += [f"{key} was {recorded.get(key)!r}" for key in _changed(config, recorded, _KEPT_BY_THEM & config.keys())]
    if found:
        return found
    _, _, listed = listed_files(spec)
    return _other_files({file.path: file.fingerprint for file in listed.files}, metadata)


# Keys of ours that a config with MLaaS4HEP's files keeps as they are; the others follow from the files.
_KEPT_BY_THEM = {
    "train_size", "seed", "fill_padding", "clip", "non_finite", "scaler", "pca", "steps", "weight_name", "compute_w_CP",
    "cat_features", "jagged_features", "images", "missing_branches", "on_bad_file",
}  # fmt: skip


def _changed(now: Mapping[str, Any], before: Mapping[str, Any], keys: Any) -> list[str]:
    return [key for key in sorted(keys) if now.get(key) != before.get(key)]


def _other_files(now: Mapping[str, Fingerprint], metadata: Mapping[str, Any]) -> list[str]:
    before = {file["path"]: file["fingerprint"] for file in metadata["inputs"]}
    if list(now) != list(before):
        return [f"other input files ({', '.join(sorted(set(now) ^ set(before))[:3]) or 'in another order'})"]
    return [f"{path} has changed" for path, fingerprint in now.items() if asdict(fingerprint) != before[path]]
