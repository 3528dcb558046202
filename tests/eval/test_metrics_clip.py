"""CLIP score and CLIP features, on tiny random models in the published layouts."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from toca.eval.metrics.clip_anytorch import AnytorchClip, clip_pictures
from toca.eval.metrics.clip_score import clip_score
from toca.eval.metrics.clip_transformers import TransformersClip
from toca.eval.metrics.features import extract
from toca.eval.metrics.pictures import as_pictures
from toca.eval.metrics.reference import load_reference
from toca.eval.metrics.tags import file_digest, weights_digest

clip = pytest.importorskip("clip")
PIPELINES = Path(__file__).parents[2] / "pipelines"
EMOJI_CLIP = PIPELINES / "emoji-clip" / "emoji-clip.pt"
LONG = "owl " * 100
PROMPTS = ["a red apple", LONG, "a red apple", "an owl", LONG]


def samples(count: int = 5, frames: int = 1, height: int = 40, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, frames, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A random CLIPModel with a tokenizer that knows letters: 24 x 24 pixels, 8 features, 12 tokens."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 40, "max_position_embeddings": 12, "bos_token_id": 38, "eos_token_id": 39}
    vision = small | {"image_size": 24, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    words = {"<pad>": 0, "<unk>": 1, **{chr(97 + i): 2 + i for i in range(26)}, "<bos>": 38, "<eos>": 39}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A <eos>", None, [("<bos>", 38), ("<eos>", 39)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>"}
    path = tmp_path_factory.mktemp("transformers") / "tiny"
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(path)
    size = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    CLIPImageProcessor(**size).save_pretrained(path)
    return path


# --- clip-anytorch -------------------------------------------------------------------------------------------------


def test_clip_score_is_a_hundred_times_the_cosine(tiny_clip):
    taken = samples()
    model, prepare = clip.load(str(tiny_clip), device="cpu")
    with torch.no_grad():
        seen = model.encode_image(torch.stack([prepare(Image.fromarray(video[0])) for video in taken]))
        read = model.encode_text(clip.tokenize(PROMPTS, truncate=True))
    wanted = 100 * F.cosine_similarity(seen, read)
    assert clip_score(AnytorchClip(tiny_clip), taken, PROMPTS).values == pytest.approx(wanted.clamp(min=0), abs=1e-3)
    assert clip_score(AnytorchClip(tiny_clip), taken, PROMPTS[::-1]).values != pytest.approx(wanted, abs=1e-2)
    assert wanted.std() > 0.1


def test_a_negative_cosine_is_no_score():
    class Opposite:
        tag = None

        def pictures(self, images):
            return torch.tensor([[1.0, 0.0], [0.6, 0.8]])

        def prompts(self, texts):
            return torch.tensor([[-1.0, 0.0], [0.0, 1.0]]), 0

    assert clip_score(Opposite(), samples(2), ["a", "b"]).values == pytest.approx((0, 80))


def test_a_video_has_the_mean_of_its_frames(tiny_clip):
    judge, taken = AnytorchClip(tiny_clip), samples(2, frames=3)
    each = [clip_score(judge, taken[:, [i]], ["x", "y"]).values for i in range(3)]
    assert clip_score(judge, taken, ["x", "y"]).values == pytest.approx(np.mean(each, 0), abs=1e-4)


def test_the_result_names_the_model_and_counts_truncated_prompts(tiny_clip):
    found = clip_score(AnytorchClip(tiny_clip), samples(), PROMPTS)
    assert found.truncated == 1
    assert found.tag.name == "tiny-clip, clip-anytorch"
    assert (found.tag.weights, found.tag.dimension) == (file_digest(tiny_clip), 16)
    assert "32" in found.tag.resize
    # 77 tokens have room for 75 words between start and end.
    assert AnytorchClip(tiny_clip).prompts(["owl " * 75])[1] == 0
    assert AnytorchClip(tiny_clip).prompts(["owl " * 76])[1] == 1


def test_every_sample_needs_a_prompt(tiny_clip):
    with pytest.raises(ValueError, match="one prompt a sample, got 2 for 5 samples"):
        clip_score(AnytorchClip(tiny_clip), samples(), ["a", "b"])


def test_the_picture_tower_makes_features_of_whole_pictures(tiny_clip):
    taken = samples(3, height=32)
    extractor = clip_pictures(tiny_clip)
    found = extract(extractor, as_pictures(taken))
    model, prepare = clip.load(str(tiny_clip), device="cpu")
    with torch.no_grad():
        wanted = model.encode_image(torch.stack([prepare(Image.fromarray(video[0])) for video in taken]))
    assert torch.allclose(found.values, F.normalize(wanted, dim=-1), atol=1e-5)
    assert extractor.tag.metadata() == {
        "extractor": f"tiny-clip, picture tower, sha256 {file_digest(tiny_clip)}",
        "resize": "bicubic with antialiasing to 32 x 32, on uint8",
    }
    assert extract(extractor, as_pictures(samples(3))).values.shape == (3, 16)


def test_a_file_that_is_no_clip_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name in ("other.pt", "text.pt"):
        with pytest.raises(ValueError, match=f"{name} is no file of CLIP weights"):
            AnytorchClip(tmp_path / name)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape("ViT-B/33 is neither a file nor") + ".*ViT-B/32"):
        AnytorchClip("ViT-B/33")


def test_openais_weights_go_by_their_name(monkeypatch, tiny_clip):
    load, asked = clip.load, []
    monkeypatch.setattr(clip, "load", lambda name, device: asked.append(name) or load(str(tiny_clip), device))
    tag = AnytorchClip("ViT-B/32").tag
    assert asked == ["ViT-B/32"]
    assert (tag.name, tag.dimension) == ("CLIP ViT-B/32, clip-anytorch", 16)
    assert tag.weights == weights_digest(load(str(tiny_clip), "cpu")[0])


def test_without_the_package_it_says_what_to_install(monkeypatch, tiny_clip):
    monkeypatch.setitem(sys.modules, "clip", None)
    with pytest.raises(ImportError, match=r'CLIP needs the module clip .*pip install "\.\[eval\]" in the checkout'):
        AnytorchClip(tiny_clip)


@pytest.mark.skipif(not EMOJI_CLIP.is_file(), reason="emoji-clip is not there")
def test_emoji_clip_is_what_the_references_of_the_pipelines_were_made_with():
    tag = clip_pictures(EMOJI_CLIP).tag
    assert tag.dimension == 128
    assert tag.metadata() == {
        "extractor": f"emoji-clip, picture tower, sha256 {file_digest(EMOJI_CLIP)}",
        "resize": "bicubic with antialiasing to 64 x 64, on uint8",
    }
    for path in PIPELINES.glob("*/reference.safetensors"):
        assert load_reference(path, tag).features is not None


# --- transformers --------------------------------------------------------------------------------------------------


def test_a_folder_of_transformers_scores_too(folder):
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    taken, prompts = samples(3), ["owl", "apple", "owl"]
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    pixels = AutoImageProcessor.from_pretrained(folder)(
        images=[Image.fromarray(video[0]) for video in taken], return_tensors="pt"
    )["pixel_values"]
    with torch.no_grad():
        cosines = [
            model(input_ids=torch.tensor([tokenizer(prompt)["input_ids"]]), pixel_values=pixels[[i]])
            .logits_per_image.div(model.logit_scale.exp())
            .item()
            for i, prompt in enumerate(prompts)
        ]
    found = clip_score(TransformersClip(folder), taken, prompts)
    assert found.values == pytest.approx([max(100 * cosine, 0) for cosine in cosines], abs=1e-3)
    assert np.std(cosines) > 1e-3
    assert (found.tag.name, found.tag.dimension, found.truncated) == ("tiny, transformers", 8, 0)
    assert found.tag.weights == weights_digest(model)


def test_transformers_cuts_prompts_and_counts_them(folder):
    judge = TransformersClip(folder)
    vectors, cut = judge.prompts(["a" * 10, "a" * 11, "a" * 30])
    assert cut == 2
    assert torch.allclose(vectors[1], vectors[0], atol=1e-6) and torch.allclose(vectors[2], vectors[0], atol=1e-6)
    assert vectors.norm(dim=-1).tolist() == pytest.approx([1, 1, 1])


def test_a_prompts_vector_does_not_depend_on_the_others(folder):
    judge = TransformersClip(folder)
    together, _ = judge.prompts(["owl", "appletree"])
    assert torch.allclose(together[0], judge.prompts(["owl"])[0][0], atol=1e-6)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(OSError, match="could not be loaded as a CLIPModel with tokenizer and image processor"):
        TransformersClip(tmp_path)


def test_both_ways_give_unit_vectors(tiny_clip, folder):
    images = as_pictures(samples(2))
    for judge in (AnytorchClip(tiny_clip), TransformersClip(folder)):
        assert judge.pictures(images).norm(dim=-1).tolist() == pytest.approx([1, 1])
        assert not isinstance(judge.pictures(images), nn.Parameter)
