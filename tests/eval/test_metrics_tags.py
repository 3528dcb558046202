"""What says that two figures may be compared."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import nn

from toca.eval.metrics.scores import SampleScores, SetScore, difference, differences
from toca.eval.metrics.tags import DifferentTags, ExtractorTag, ResultTag, check_same, file_digest, weights_digest

EXTRACTOR = ExtractorTag("net, pool", "a" * 64, "bicubic to 64", 128)
RESULT = ResultTag(EXTRACTOR, "b" * 64, 2000)


def test_figures_of_one_tag_are_compared():
    assert difference(SetScore("FID", 5.0, None, RESULT), SetScore("FID", 3.0, None, RESULT)) == 2
    ours, theirs = (SampleScores("CLIP score", values, EXTRACTOR) for values in ((3.0, 1.0), (1.0, 2.0)))
    assert differences(ours, theirs) == [2, -1]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (replace(RESULT, samples=1000), "samples: 2000 and 1000"),
        (replace(RESULT, reference="c" * 64), "reference: bbb.* and ccc"),
        (replace(RESULT, extractor=replace(EXTRACTOR, resize="bilinear to 64")), "bicubic.* and .*bilinear"),
        (replace(RESULT, extractor=replace(EXTRACTOR, weights="d" * 64)), "aaa.* and .*ddd"),
    ],
)
def test_figures_of_different_tags_are_not(other, says):
    with pytest.raises(DifferentTags, match=says):
        difference(SetScore("FID", 5.0, None, RESULT), SetScore("FID", 3.0, None, other))


def test_figures_of_different_metrics_are_not():
    with pytest.raises(DifferentTags, match="FID cannot be compared with KID"):
        difference(SetScore("FID", 5.0, None, RESULT), SetScore("KID", 3.0, None, RESULT))


def test_tags_of_different_kinds_are_not():
    with pytest.raises(DifferentTags, match="cannot be compared"):
        check_same(EXTRACTOR, RESULT)


def test_scores_of_samples_need_one_judge_and_one_number():
    ours = SampleScores("CLIP score", (1.0, 2.0), EXTRACTOR)
    with pytest.raises(DifferentTags, match="name: net, pool and other"):
        differences(ours, replace(ours, tag=replace(EXTRACTOR, name="other")))
    with pytest.raises(ValueError, match="2 samples cannot be paired with 1"):
        differences(ours, replace(ours, values=(1.0,)))


def test_a_tag_comes_back_from_metadata():
    assert ExtractorTag.of_metadata(EXTRACTOR.metadata(), 128) == EXTRACTOR


@pytest.mark.parametrize("metadata", [{}, {"extractor": "net"}, {"extractor": "net, sha256 ab"}, {"resize": "no"}])
def test_metadata_that_do_not_say_enough_are_refused(metadata):
    with pytest.raises(ValueError, match="do not name"):
        ExtractorTag.of_metadata(metadata, 128)


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"toca" * 700_000)
    assert file_digest(path) == hashlib.sha256(b"toca" * 700_000).hexdigest()


def test_weights_have_one_digest_in_every_precision_and_another_when_changed():
    module = nn.Linear(3, 2)
    module.load_state_dict({name: value.half().float() for name, value in module.state_dict().items()})
    found = weights_digest(module)
    assert weights_digest(module.half()) == found
    module.weight.data[0, 0] += 1
    assert weights_digest(module) != found


def test_weights_count_with_their_names_and_shapes():
    a, b = nn.Linear(4, 1, bias=False), nn.Linear(2, 2, bias=False)
    b.weight.data = a.weight.data.view(2, 2)
    named = nn.ModuleDict({"other": a})
    assert len({weights_digest(module) for module in (a, b, named)}) == 3
    assert torch.equal(a.weight.flatten(), b.weight.flatten())
