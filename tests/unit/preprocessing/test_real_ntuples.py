"""Public ntuples through the whole of preprocessing, against plain uproot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from utils.errors import CrossfoldError
from utils.preprocessing.spec import PcaSpec, Process, Sample

CLASSES = ("single_top", "ww", "wz", "zz")


def test_the_hep_tutorial(shared_data: Path, skims: Callable[..., Any]) -> None:
    run = skims(
        shared_data / "hep-tutorial",
        input_samples=tuple(Sample(name, (Process(name, None, i),)) for i, name in enumerate(CLASSES)),
        new_variables={
            "met": "np.hypot(MET_px, MET_py)",
            "lead_jet_pt": "nth(np.hypot(Jet_Px, Jet_Py), 0, default=-10)",
            "n_btag": "count(Jet_btag[Jet_btag>1.74])",
        },
        cont_features=("met", "lead_jet_pt"),
        cat_features=("NJet", "n_btag"),
        misc_features=("w_class_imbalance",),
        weight_name="EventWeight",
        pca=PcaSpec(),
        chunk_size=1000,
    )
    flow = {(step.process, step.step): step for step in run.result.cutflow}
    for i, name in enumerate(CLASSES):
        branches = uproot.open(shared_data / "hep-tutorial" / f"{name}.root")["events"].arrays()
        mine = run.both("target") == i
        order = np.argsort(run.both("entry")[mine])
        assert order.size == len(branches)
        met = np.hypot(branches["MET_px"], branches["MET_py"])
        lead = ak.fill_none(ak.firsts(np.hypot(branches["Jet_Px"], branches["Jet_Py"])), -10)
        np.testing.assert_allclose(run.both("met")[mine][order], met, rtol=1e-6)
        np.testing.assert_allclose(run.both("lead_jet_pt")[mine][order], lead, rtol=1e-6)
        assert np.array_equal(run.both("NJet")[mine][order], branches["NJet"])
        assert flow[name, "read"].sum_w == pytest.approx(ak.sum(ak.values_astype(branches["EventWeight"], "float64")))
    assert run.result.duplicates.within == run.result.duplicates.across == {}


@pytest.mark.parametrize(
    ("file", "tree", "feature"),
    [
        ("robustness/uproot-empty.root", "tree", "z2"),
        ("robustness/uproot-issue261.root", "events", "x"),
        ("robustness/uproot-issue70.root", "events", "x"),
        ("robustness/bad_delphes.root", "Delphes", "x"),
        ("robustness/uproot-issue513.root", "Delphes", "Particle.fBits"),
        ("robustness/uproot-issue-880.root", "Z", "Event"),
        ("robustness/uproot-histograms.root", "one", "x"),
        ("robustness/string-example.root", "Refs", "tag"),
        ("robustness/uproot-leaflist.root", "tree", "leaflist"),
        ("robustness/uproot-stl_containers.root", "tree", "vector_int32"),
        ("robustness/uproot-issue-816.root", "AnalysisMiniTree", "truth_nu_pt"),
        ("robustness/uproot-nesteddirs.root", "three/tree", "evt"),
        ("robustness/uproot-HZZ-objects.root", "events", "muonp4"),
    ],
)
def test_what_cannot_be_a_feature_is_an_error_with_the_file(
    shared_data: Path, skims: Callable[..., Any], file: str, tree: str, feature: str
) -> None:
    with pytest.raises(CrossfoldError) as raised:
        skims(
            shared_data,
            for_training=False,
            input_samples=(Sample.from_config(file, ""),),
            input_filename_template="{sample_name}",
            input_tree_name=tree,
            cont_features=(feature,),
            cat_features=None,
            misc_features=None,
            weight_name=None,
            identity="entry",
        )
    assert Path(file).name in str(raised.value)
