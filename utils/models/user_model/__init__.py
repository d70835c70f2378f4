"""Models from a file of the user's own, as MLaaS4HEP's users bring them: `model(idim)` gives what is to be trained."""
