"""Video, with sound or without: frames, rows and columns in one sequence, or in blocks that alternate."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .moment import FRAMES, GRID, TEXT, TOKENS, Moment, positions
from .tiny import ZOO, tiny

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
WIDE_HEADS = {"num_attention_heads": 2, "attention_head_dim": 12}
CHANNELS = {"in_channels": 4, "out_channels": 4}
SIZES = {"sample_height": 8, "sample_width": 12}
VIDEO_TOKENS = FRAMES * TOKENS
SOUND = 7


def latents_and_text(now: Moment, channels: int = 4) -> dict[str, Any]:
    """Latents (B, C, frames, 8, 12), for patches of two."""
    return {
        "hidden_states": now.latents(channels, FRAMES, 8, 12),
        "timestep": now.time(),
        "encoder_hidden_states": now.given(TEXT, 12),
    }


def frames_first(now: Moment) -> dict[str, Any]:
    """The same with latents (B, frames, C, 8, 12)."""
    return latents_and_text(now) | {"hidden_states": now.latents(FRAMES, 4, 8, 12)}


def mask(now: Moment) -> dict[str, Any]:
    return {"encoder_attention_mask": now.ones(TEXT, dtype=torch.long)}


@tiny(
    "LatteTransformer3DModel",
    in_channels=4,
    out_channels=8,
    num_layers=2,
    cross_attention_dim=16,
    attention_bias=True,
    sample_size=8,
    patch_size=2,
    activation_fn="gelu-approximate",
    num_embeds_ada_norm=1000,
    norm_type="ada_norm_single",
    norm_elementwise_affine=False,
    caption_channels=12,
    video_length=FRAMES,
    **HEADS,
)
def latte(now: Moment) -> dict[str, Any]:
    return latents_and_text(now)


@tiny(
    "AllegroTransformer3DModel",
    num_layers=3,
    cross_attention_dim=24,
    sample_frames=FRAMES,
    caption_channels=12,
    **SIZES,
    **CHANNELS,
    **WIDE_HEADS,
)
def allegro(now: Moment) -> dict[str, Any]:
    where = positions(FRAMES, *GRID, axes=3).long().T[:, None]
    angle = torch.arange(VIDEO_TOKENS)[:, None] * torch.ones(4, dtype=now.dtype)
    rotary = tuple((angle.cos(), angle.sin()) for _ in range(3))
    return latents_and_text(now) | mask(now) | {"image_rotary_emb": (rotary, tuple(where))}


COGVIDEO = {
    "time_embed_dim": 8,
    "text_embed_dim": 12,
    "num_layers": 3,
    "sample_frames": 9,
    "max_text_seq_length": TEXT,
    **SIZES,
    **CHANNELS,
    **HEADS,
}


@tiny("CogVideoXTransformer3DModel", **COGVIDEO)
def cogvideox(now: Moment) -> dict[str, Any]:
    return frames_first(now)


def cogvideox_rotary(now: Moment) -> dict[str, Any]:
    angle = now.common(VIDEO_TOKENS, 8, of="rotary")
    return frames_first(now) | {"image_rotary_emb": (angle.cos(), angle.sin())}


cogvideox.variant("rotary", cogvideox_rotary, use_rotary_positional_embeddings=True)


def cogvideox_image_to_video(now: Moment) -> dict[str, Any]:
    """Version 1.5: four frames in patches of two, and an offset for all samples."""
    angle = now.common(2 * TOKENS, 8, of="rotary")
    given = {"ofs": torch.full((1,), 2.0, dtype=now.dtype), "image_rotary_emb": (angle.cos(), angle.sin())}
    return frames_first(now) | {"hidden_states": now.latents(4, 4, 8, 12)} | given


cogvideox.variant(
    "1.5",
    cogvideox_image_to_video,
    use_rotary_positional_embeddings=True,
    patch_size_t=2,
    ofs_embed_dim=8,
    patch_bias=False,
)


@tiny("ConsisIDTransformer3DModel", **COGVIDEO)
def consisid(now: Moment) -> dict[str, Any]:
    return frames_first(now)


def consisid_face(now: Moment) -> dict[str, Any]:
    """A face, the same for all samples."""
    seen = [now.common(1, 3, 6, of=f"layer {i}") for i in range(2)]
    return frames_first(now) | {"id_cond": now.common(1, 7, of="identity"), "id_vit_hidden": seen}


consisid.variant(
    "face",
    consisid_face,
    num_layers=4,
    is_train_face=True,
    cross_attn_dim_head=4,
    cross_attn_num_heads=2,
    LFE_id_dim=7,
    LFE_vit_dim=6,
    LFE_depth=4,
    LFE_dim_head=4,
    LFE_num_heads=2,
    LFE_num_id_token=2,
    LFE_num_querie=5,
    LFE_output_dim=10,
    LFE_ff_mult=2,
    LFE_num_scale=2,
)


@tiny(
    "CosmosTransformer3DModel",
    exact=torch.float32,
    num_layers=3,
    mlp_ratio=2.0,
    text_embed_dim=12,
    adaln_lora_dim=4,
    max_size=(4, 16, 16),
    concat_padding_mask=True,
    **CHANNELS,
    **WIDE_HEADS,
)
def cosmos(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"fps": 24, "padding_mask": torch.zeros(1, 1, 8, 12, dtype=now.dtype)}


def cosmos_picture(now: Moment) -> dict[str, Any]:
    """Text and picture as a pair, and a timestep for each frame, of which the first one is clean (2.5)."""
    times = now.time(1, FRAMES, 1, 1)
    times[:, :, :1] *= 0.0
    pair = (now.given(TEXT, 12), now.given(4, 10, of="picture"))
    return cosmos.arguments(now) | {"encoder_hidden_states": pair, "timestep": times}


cosmos.variant(
    "picture",
    cosmos_picture,
    extra_pos_embed_type=None,
    use_crossattn_projection=True,
    crossattn_proj_in_channels=12,
    encoder_hidden_states_channels=12,
    img_context_dim_in=10,
    img_context_num_tokens=4,
    img_context_dim_out=24,
)


@tiny(
    "Cosmos3OmniTransformer",
    batches=False,  # one packed sequence, without a dimension of samples
    head_dim=12,
    hidden_size=24,
    intermediate_size=32,
    latent_channel=4,
    latent_patch_size=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_hidden_layers=3,
    patch_latent_dim=16,
    rope_axes_dim=[2, 2, 2],
    vocab_size=32,
    dtype="float32",
)
def cosmos3(now: Moment) -> dict[str, Any]:
    places = torch.arange(TEXT, TEXT + VIDEO_TOKENS)
    return {
        "input_ids": now.numbers(TEXT, below=32)[0],
        "text_indexes": torch.arange(TEXT),
        "position_ids": torch.arange(TEXT + VIDEO_TOKENS).repeat(3, 1),
        "und_len": TEXT,
        "sequence_length": TEXT + VIDEO_TOKENS,
        "vision_tokens": [now.latents(4, FRAMES, 8, 12)],
        "vision_token_shapes": [(FRAMES, *GRID)],
        "vision_sequence_indexes": places,
        "vision_mse_loss_indexes": places,
        "vision_timesteps": now.time(VIDEO_TOKENS)[0],
        "vision_noisy_frame_indexes": [torch.arange(FRAMES)],
    }


@tiny(
    "EasyAnimateTransformer3DModel",
    patch_size=2,
    num_layers=3,
    mmdit_layers=2,
    time_embed_dim=8,
    text_embed_dim=12,
    num_attention_heads=2,
    attention_head_dim=16,
    **SIZES,
    **CHANNELS,
)
def easy_animate(now: Moment) -> dict[str, Any]:
    return latents_and_text(now)


WAN = {
    "patch_size": (1, 2, 2),
    "text_dim": 12,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 3,
    "rope_max_seq_len": 32,
    **CHANNELS,
    **WIDE_HEADS,
}


@tiny("WanTransformer3DModel", **WAN)
def wan(now: Moment) -> dict[str, Any]:
    return latents_and_text(now)


def wan_image_to_video(now: Moment) -> dict[str, Any]:
    """The text of this kind is 512 long, for what is before it are the picture's tokens."""
    text, picture = now.given(512, 12), now.given(4, 10, of="picture")
    return latents_and_text(now) | {"encoder_hidden_states": text, "encoder_hidden_states_image": picture}


def a_time_each_token(now: Moment) -> dict[str, Any]:
    """A timestep for each token: those of the first frame are clean."""
    times = now.time(VIDEO_TOKENS)
    times[:, :TOKENS] *= 0.0
    return latents_and_text(now) | {"timestep": times}


wan.variant("image-to-video", wan_image_to_video, image_dim=10, added_kv_proj_dim=24)
wan.variant("time-per-token", a_time_each_token)


@tiny("WanVACETransformer3DModel", **{**WAN, "num_layers": 4}, vace_layers=[0, 2], vace_in_channels=8)
def wan_vace(now: Moment) -> dict[str, Any]:
    control = {
        "control_hidden_states": now.given(8, FRAMES, 8, 12, of="control"),
        "control_hidden_states_scale": torch.ones(2, dtype=now.dtype),
    }
    return latents_and_text(now) | control


@tiny("SkyReelsV2Transformer3DModel", **WAN)
def skyreels(now: Moment) -> dict[str, Any]:
    return latents_and_text(now)


def a_time_each_frame(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"timestep": now.time(FRAMES), "enable_diffusion_forcing": True}


skyreels.variant("diffusion-forcing", a_time_each_frame)


@tiny("ChronoEditTransformer3DModel", rope_temporal_skip_len=8, **WAN)
def chrono_edit(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"hidden_states": now.latents(4, 2, 8, 12)}


def any_flow_times(now: Moment) -> dict[str, Any]:
    times = now.time(FRAMES)
    return {"timestep": times, "r_timestep": times - 100}


@tiny("AnyFlowTransformer3DModel", **WAN)
def any_flow(now: Moment) -> dict[str, Any]:
    return frames_first(now) | any_flow_times(now)


@tiny(
    "AnyFlowFARTransformer3DModel",
    compressed_patch_size=(1, 4, 4),
    full_chunk_limit=3,
    chunk_partition=(1, 2),
    **{**WAN, "attention_head_dim": 16},  # FlexAttention pads heads that are smaller
)
def any_flow_far(now: Moment) -> dict[str, Any]:
    """The second chunk of two, which reads the keys and values of the first."""
    heads, width = 2, 16
    layers = [
        {
            "full_cache": now.given(2, heads, TOKENS, width, of=f"keys {layer}").transpose(0, 1),
            "compressed_cache": now.full(0.0, 2, heads, 0, width).transpose(0, 1),
        }
        for layer in range(3)
    ]
    times = now.time(2)
    return latents_and_text(now) | {
        "hidden_states": now.latents(2, 4, 8, 12),
        "timestep": times,
        "r_timestep": times - 100,
        "chunk_partition": [1, 2],
        "kv_cache": layers,
        "kv_cache_flag": {"is_cache_step": False, "num_cached_chunks": 1},
    }


@tiny(
    "HeliosTransformer3DModel",
    patch_size=(1, 2, 2),
    text_dim=12,
    freq_dim=16,
    ffn_dim=32,
    num_layers=3,
    rope_dim=(4, 4, 4),
    **CHANNELS,
    **WIDE_HEADS,
)
def helios(now: Moment) -> dict[str, Any]:
    history = {
        "indices_hidden_states": now.repeated(torch.arange(1, 1 + FRAMES)),
        "indices_latents_history_short": torch.zeros(now.batch, 1),
        "latents_history_short": now.given(4, 1, 8, 12, of="history"),
    }
    return latents_and_text(now) | history


@tiny(
    "WanAnimateTransformer3DModel",
    latent_channels=4,
    image_dim=10,
    added_kv_proj_dim=24,
    inject_face_latents_blocks=2,
    motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8},
    motion_encoder_size=16,
    motion_style_dim=8,
    motion_dim=4,
    motion_encoder_dim=8,
    face_encoder_hidden_dim=8,
    face_encoder_num_heads=2,
    **{**WAN, "in_channels": 12, "num_layers": 4},
)
def wan_animate(now: Moment) -> dict[str, Any]:
    person = {
        "encoder_hidden_states": now.given(512, 12),
        "encoder_hidden_states_image": now.given(4, 10, of="picture"),
        "pose_hidden_states": now.given(4, FRAMES - 1, 8, 12, of="pose"),
        "face_pixel_values": now.given(3, 5, 16, 16, of="face"),
    }
    return latents_and_text(now, 12) | person


HUNYUAN = {
    "num_layers": 2,
    "num_refiner_layers": 1,
    "mlp_ratio": 2.0,
    "rope_axes_dim": (2, 2, 4),
    "text_embed_dim": 12,
    **CHANNELS,
    **HEADS,
}
PATCHED = {"num_single_layers": 3, "patch_size": 2, "patch_size_t": 1, "pooled_projection_dim": 10}


@tiny("HunyuanVideoTransformer3DModel", **HUNYUAN, **PATCHED)
def hunyuan_video(now: Moment) -> dict[str, Any]:
    guided = {"pooled_projections": now.given(10, of="pooled"), "guidance": now.full(6000.0)}
    return latents_and_text(now) | mask(now) | guided


def hunyuan_unguided(now: Moment) -> dict[str, Any]:
    return hunyuan_video.arguments(now) | {"guidance": None}


hunyuan_video.variant("token-replace", hunyuan_unguided, image_condition_type="token_replace", guidance_embeds=False)


def padded(now: Moment) -> dict[str, Any]:
    """Padding of the text hidden, of another length for each sample."""
    told = mask(now)["encoder_attention_mask"].clone()
    for row, sample in enumerate(now.samples):
        told[row, TEXT - 1 - sample % 2 :] = 0
    return {"encoder_attention_mask": told}


hunyuan_video.variant("padded-text", lambda now: hunyuan_video.arguments(now) | padded(now))


@tiny(
    "HunyuanVideo15Transformer3DModel",
    patch_size=1,
    patch_size_t=1,
    text_embed_2_dim=10,
    image_embed_dim=6,
    target_size=16,
    task_type="t2v",
    **{**HUNYUAN, "num_layers": 4},
)
def hunyuan_video_15(now: Moment) -> dict[str, Any]:
    conditions = {
        "hidden_states": now.latents(4, FRAMES, *GRID),
        "encoder_hidden_states_2": now.given(2, 10, of="second text"),
        "encoder_attention_mask_2": now.ones(2, dtype=torch.long),
        "image_embeds": now.full(0.0, 3, 6),
    }
    return latents_and_text(now) | mask(now) | conditions


def hunyuan_video_15_with_picture(now: Moment) -> dict[str, Any]:
    return hunyuan_video_15.arguments(now) | padded(now) | {"image_embeds": now.given(3, 6, of="picture")}


hunyuan_video_15.variant("image-to-video", hunyuan_video_15_with_picture)


@tiny(
    "HunyuanVideoFramepackTransformer3DModel",
    batches=False,
    has_image_proj=True,
    image_proj_dim=6,
    has_clean_x_embedder=True,
    **HUNYUAN,
    **PATCHED,
)
def framepack(now: Moment) -> dict[str, Any]:
    history = {
        "image_embeds": now.given(3, 6, of="picture"),
        "indices_latents": torch.arange(3, 3 + FRAMES),
        "latents_clean": now.given(4, 2, 8, 12, of="clean"),
        "indices_latents_clean": torch.arange(2),
        "latents_history_2x": now.given(4, 2, 8, 12, of="history, halved"),
        "indices_latents_history_2x": torch.arange(2),
        "latents_history_4x": now.given(4, 4, 8, 16, of="history, quartered"),
        "indices_latents_history_4x": torch.arange(4),
    }
    return hunyuan_video.arguments(now) | history


framepack.variant("padded-text", lambda now: framepack.arguments(now) | padded(now))


def packed(now: Moment) -> dict[str, Any]:
    """A row a token; frames and grid are told as numbers."""
    sizes = {"num_frames": FRAMES, "height": GRID[0], "width": GRID[1]}
    return latents_and_text(now) | {"hidden_states": now.latents(VIDEO_TOKENS, 4)} | mask(now) | sizes


@tiny(
    "LTXVideoTransformer3DModel",
    cross_attention_dim=24,
    num_layers=3,
    caption_channels=12,
    **CHANNELS,
    **WIDE_HEADS,
)
def ltx(now: Moment) -> dict[str, Any]:
    return packed(now)


def packed_with_times(now: Moment) -> dict[str, Any]:
    return packed(now) | {"timestep": a_time_each_token(now)["timestep"]}


ltx.variant("time-per-token", packed_with_times)

LTX2 = {
    "cross_attention_dim": 24,
    "audio_in_channels": 4,
    "audio_out_channels": 4,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 4,
    "audio_cross_attention_dim": 8,
    "num_layers": 3,
    "caption_channels": 12,
    "rope_double_precision": False,
    **CHANNELS,
    **WIDE_HEADS,
}


@tiny("LTX2VideoTransformer3DModel", **LTX2)
def ltx2(now: Moment) -> dict[str, Any]:
    sound = {
        "audio_hidden_states": now.latents(SOUND, 4, of="sound"),
        "audio_encoder_hidden_states": now.given(TEXT, 12, of="sound's text"),
        "audio_num_frames": SOUND,
        "fps": 24.0,
    }
    return packed(now) | sound


def ltx2_with_times(now: Moment) -> dict[str, Any]:
    return ltx2.arguments(now) | {"timestep": a_time_each_token(now)["timestep"], "audio_timestep": now.time()}


ltx2.variant("time-per-token", ltx2_with_times)


@tiny("SanaWMLTX2RefinerTransformer3DModel", **LTX2)
def sana_refiner(now: Moment) -> dict[str, Any]:
    call = {name: value for name, value in packed(now).items() if name not in ("num_frames", "height", "width")}
    rotary = tuple(part.repeat(now.batch, *(1,) * (part.ndim - 1)) for part in _refiner_rotary())
    return call | {"timestep": now.time(VIDEO_TOKENS), "video_rotary_emb": rotary}


@functools.cache
def _refiner_rotary() -> tuple[torch.Tensor, ...]:
    """Of one sample; the model itself makes it."""
    model: Any = ZOO["SanaWMLTX2RefinerTransformer3DModel"].make()
    return tuple(model.build_rotary_emb_for_absolute_positions(1, list(range(FRAMES)), *GRID, "cpu", 24.0))


@tiny(
    "MochiTransformer3DModel",
    patch_size=2,
    num_layers=3,
    pooled_projection_dim=12,
    in_channels=4,
    text_embed_dim=16,
    time_embed_dim=8,
    max_sequence_length=TEXT,
    **HEADS,
)
def mochi(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | {"encoder_hidden_states": now.given(TEXT, 16), **mask(now)}


@tiny(
    "MotifVideoTransformer3DModel",
    exact=torch.float32,
    in_channels=9,
    out_channels=4,
    num_layers=2,
    num_single_layers=3,
    mlp_ratio=2.0,
    patch_size=2,
    patch_size_t=1,
    text_embed_dim=12,
    rope_axes_dim=(4, 4, 4),
    **WIDE_HEADS,
)
def motif(now: Moment) -> dict[str, Any]:
    return latents_and_text(now, 9)


def motif_of_a_picture(now: Moment) -> dict[str, Any]:
    return motif.arguments(now) | {"image_embeds": now.given(4, 10)}


motif.variant(
    "picture",
    motif_of_a_picture,
    image_embed_dim=10,
    enable_text_cross_attention_dual=True,
    enable_text_cross_attention_single=True,
)

KANDINSKY = {
    "in_visual_dim": 4,
    "out_visual_dim": 4,
    "time_dim": 8,
    "patch_size": (1, 2, 2),
    "model_dim": 24,
    "ff_dim": 32,
    "num_visual_blocks": 3,
    "axes_dims": (4, 4, 4),
}
KANDINSKY_TEXT = {"in_text_dim": 12, "in_text_dim2": 10, "num_text_blocks": 1}


def channels_last(now: Moment) -> dict[str, Any]:
    """Latents (B, frames, 8, 12, C), a text and a vector of it."""
    latents = {"hidden_states": now.latents(FRAMES, 8, 12, 4), "pooled_projections": now.given(10, of="pooled")}
    return latents_and_text(now) | latents


@tiny("Kandinsky5Transformer3DModel", exact=torch.float32, **KANDINSKY, **KANDINSKY_TEXT)
def kandinsky5(now: Moment) -> dict[str, Any]:
    where = [torch.arange(size) for size in (FRAMES, *GRID)]
    return channels_last(now) | {"visual_rope_pos": where, "text_rope_pos": torch.arange(TEXT)}


@tiny(
    "Kandinsky6Transformer3DModel",
    visual_cond=False,
    in_audio_dim=4,
    out_audio_dim=4,
    **KANDINSKY,
    **KANDINSKY_TEXT,
)
def kandinsky6(now: Moment) -> dict[str, Any]:
    return channels_last(now) | {"audio_hidden_states": now.latents(SOUND, 4, of="sound")}


@tiny(
    "Kandinsky6SRTransformer3DModel",
    batches=False,  # one picture at a time, in tiles
    nabla_window=(3, 3, 3),
    **{**KANDINSKY, "patch_size": (1, 1, 1)},
)
def kandinsky6_sr(now: Moment) -> dict[str, Any]:
    # Attention of this kind is over tiles of 8 x 8 tokens; channels are the latents, the condition and a mask.
    return {"hidden_states": now.latents(2, 8, 8, 9), "timestep": now.time()}


@tiny(
    "SanaVideoTransformer3DModel",
    num_layers=3,
    num_cross_attention_heads=2,
    cross_attention_head_dim=12,
    cross_attention_dim=24,
    caption_channels=12,
    sample_size=8,
    rope_max_seq_len=32,
    **CHANNELS,
    **WIDE_HEADS,
)
def sana_video(now: Moment) -> dict[str, Any]:
    return latents_and_text(now) | mask(now)


@tiny(
    "SanaWMTransformer3DModel",
    in_channels=4,
    num_layers=4,
    hidden_size=48,
    num_attention_heads=2,
    linear_head_dim=24,
    caption_channels=12,
    chunk_plucker_channels=8,
    chunk_plucker_post_attn_blocks=4,
    mlp_ratio=2.0,
    mixed_precision="no",
)
def sana_world(now: Moment) -> dict[str, Any]:
    return {
        "hidden_states": now.latents(4, FRAMES, *GRID),
        "timestep": now.time(1, FRAMES),
        "encoder_hidden_states": now.given(1, TEXT, 12),
        "encoder_attention_mask": now.ones(1, 1, TEXT),
    }


def sana_world_seen(now: Moment) -> dict[str, Any]:
    """Cameras that move, each as a matrix of four by four and four numbers of its lens, and rays of light."""
    place = torch.eye(4, dtype=now.dtype).repeat(now.batch, FRAMES, 1, 1)
    place[:, :, :3, 3] = 0.3 * now.given(FRAMES, 3, of="places")
    lens = torch.tensor([4.0, 6.0, 3.0, 2.0], dtype=now.dtype).expand(now.batch, FRAMES, 4)
    cameras = torch.cat([place.flatten(2), lens], dim=2)
    return sana_world.arguments(now) | {
        "camera_conditions": cameras,
        "chunk_plucker": now.given(8, FRAMES, *GRID, of="rays"),
    }


sana_world.variant("cameras", sana_world_seen)


@tiny(
    "MiniMaxH3Transformer3DModel",
    num_attention_heads=2,
    attention_head_dim=16,
    hidden_size=24,
    num_layers=3,
    num_refiner_layers=1,
    ffn_dim=32,
    in_channels=4,
    audio_in_channels=6,
    text_dim=12,
    freq_dim=8,
    time_embed_hidden_dim=24,
    time_embed_dim=16,
    rope_freq_dim=2,
)
def minimax_h3(now: Moment) -> dict[str, Any]:
    """Rows of text, sound and video in one sequence; two timesteps for all samples, and which of them a row has."""
    kinds = torch.tensor([1] * TEXT + [2] * SOUND + [0] * VIDEO_TOKENS)
    places = torch.arange(len(kinds))
    return {
        "hidden_states": now.latents(VIDEO_TOKENS, 16),
        "audio_hidden_states": now.latents(SOUND, 6, of="sound"),
        "encoder_hidden_states": now.given(TEXT, 12),
        "timestep": torch.stack([now.time()[0], now.time()[0] / 2]),
        "timestep_indices": (kinds == 2).long(),
        "token_tags": kinds,
        "position_ids": places[:, None].repeat(1, 3),
        "text_indices": places[kinds == 1],
        "audio_indices": places[kinds == 2],
        "video_indices": places[kinds == 0],
    }
