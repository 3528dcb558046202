"""Trains the embedded text-to-image pipeline: captioned emoji, 64 x 64 pixels. See README.md beside this file.

python examples/train_emoji.py prepare --pictures A.tgz --labels B.tgz
python examples/train_emoji.py train
python examples/train_emoji.py evaluate
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from emoji import data, evaluate, export, text, training, transformer, vae
from transformers import PreTrainedTokenizerFast, T5EncoderModel


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("prepare", run_prepare), ("train", run_train), ("evaluate", run_evaluate)):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--data", type=Path, default=Path(".data/emoji.npz"), help="the prepared archive")
        if name == "prepare":
            command.add_argument("--pictures", type=Path, required=True, help="the picture package, .tgz")
            command.add_argument("--labels", type=Path, required=True, help="the label package, .tgz")
            continue
        command.add_argument("--out", type=Path, default=Path("pipelines/emoji"), help="the pipeline's folder")
        command.add_argument("--limit", type=int, help="use so many pictures only (train) or prompts (evaluate)")
        if name == "evaluate":
            command.add_argument("--grid", type=Path, default=Path(".data/grid.png"), help="where samples are drawn")
            continue
        command.add_argument("--vae-seconds", type=float, default=150, help="time for the autoencoder")
        command.add_argument("--transformer-seconds", type=float, default=330, help="time for the transformer")
        command.add_argument("--batch", type=int, help="pictures a step and process; 512 on a GPU, else 32")
        command.add_argument("--vae-batch", type=int, help="likewise for the autoencoder; 128 on a GPU, else 16")
        command.add_argument("--lr", type=float, default=1.5e-3, help="peak learning rate of the transformer")
        command.add_argument("--layers", type=int, default=6, help="of the transformer")
        command.add_argument("--compile", action="store_true", help="torch.compile the transformer")
        command.add_argument("--init-from", type=Path, help="a pipeline folder whose transformer is trained further")
        command.add_argument("--checkpoints", type=Path, default=Path(".data/checkpoints"), help="to resume from")
        command.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run_prepare(options: argparse.Namespace) -> None:
    """from the two packages to one archive"""
    count = data.prepare(options.pictures, options.labels, options.data)
    print(f"{count} pictures in {options.data}")


def to_pixels(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 pictures as (count, 3, size, size) in -1..1."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def load_text(options, entries: list[data.Entry]) -> tuple[PreTrainedTokenizerFast, T5EncoderModel]:
    """The tokenizer and the word encoder: made from the captions, or those of the folder to start from."""
    if options.init_from:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.init_from / "tokenizer")
        return tokenizer, T5EncoderModel.from_pretrained(options.init_from / "text_encoder").eval()
    words, forms = text.vocabulary(entries)
    return text.build_tokenizer(words), text.build_encoder(words, forms)


def train_vae(options: argparse.Namespace, pixels: torch.Tensor, accelerator: Accelerator) -> AutoencoderKL:
    """The autoencoder, trained and standardised."""
    if options.init_from:
        return AutoencoderKL.from_pretrained(options.init_from / "vae").to(accelerator.device)
    model = vae.build().to(accelerator.device, memory_format=torch.channels_last)
    batch = options.vae_batch or (128 if accelerator.device.type == "cuda" else 16)
    stage = training.Stage("vae", options.vae_seconds, lr=2e-3, warmup=100, seed=options.seed)
    objective = vae.Objective(model, pixels, batch)
    training.train(objective, stage, accelerator, options.checkpoints / "vae.pt")
    vae.standardise(model.eval(), pixels)
    return model


def train_transformer(options, latents, captions, states, accelerator) -> tuple[PixArtTransformer2DModel, dict]:
    """The transformer, and what its training came to."""
    if options.init_from:
        model = PixArtTransformer2DModel.from_pretrained(options.init_from / "transformer")
    else:
        model = transformer.build(states.shape[1], options.layers)
    model = model.to(accelerator.device)
    if options.compile:
        torch._dynamo.config.suppress_errors = True  # a run of minutes is better slow than lost
        for block in model.transformer_blocks:  # all blocks share one graph, so this compiles in a sixth of the time
            block.compile(dynamic=False)
    batch = options.batch or (512 if accelerator.device.type == "cuda" else 32)
    stage = training.Stage("transformer", options.transformer_seconds, lr=options.lr, seed=options.seed)
    objective = transformer.Objective(model, latents, captions, states, batch).to(accelerator.device)

    def gap() -> str:
        with accelerator.autocast():
            return "caption right {:.4f}, shuffled {:.4f}".format(*objective.caption_gap())

    result = training.train(objective, stage, accelerator, options.checkpoints / "transformer.pt", gap)
    right, shuffled = objective.caption_gap()
    return model, {**result, "right": right, "shuffled": shuffled, "batch": batch * accelerator.num_processes}


def run_train(options: argparse.Namespace) -> None:
    """train the autoencoder and the transformer, and save the pipeline"""
    # The objectives keep their data in buffers: the same in every process, and not to be sent around.
    kept_apart = DistributedDataParallelKwargs(broadcast_buffers=False)
    accelerator = Accelerator(mixed_precision="bf16", kwargs_handlers=[kept_apart])
    torch.set_float32_matmul_precision("high")
    images, entries = data.load(options.data, options.limit)
    pixels = to_pixels(images, accelerator.device)
    tokenizer, encoder = load_text(options, entries)
    autoencoder = train_vae(options, pixels, accelerator)
    psnr = vae.psnr(autoencoder, pixels)
    accelerator.print(f"vae: {psnr:.2f} dB on its pictures, white at {whiteness(autoencoder, pixels):.4f}", flush=True)
    latents = vae.encode(autoencoder, pixels)
    captions = text.caption_table(entries, tokenizer)
    model, result = train_transformer(options, latents, captions, text.token_states(encoder), accelerator)
    if accelerator.is_main_process:
        export.save_pipeline(options.out, tokenizer, encoder, autoencoder, model, entries)
        (options.out / "training.json").write_text(json.dumps({"vae_psnr": psnr, **result}, indent=2) + "\n")
        print(f"saved {options.out}: {result}", flush=True)


@torch.no_grad()
def whiteness(model: AutoencoderKL, pixels: torch.Tensor) -> float:
    """The mean of the corner pixels after encoding and decoding; 1 is white."""
    decoded = model.decode(model.encode(pixels[:64]).latent_dist.mean).sample
    return decoded[:, :, ::63, ::63].clamp(-1, 1).mean().item()


def run_evaluate(options: argparse.Namespace) -> None:
    """generate every prompt through the stock pipeline, count what comes out right, write the card"""
    images, entries = data.load(options.data)
    known = set(json.loads((options.out / "prompts.json").read_text()))
    kept = [i for i, entry in enumerate(entries) if entry.label in known]
    images, entries = images[kept], [entries[i] for i in kept]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    figures, sheet, unknown = evaluate.evaluate(options.out, images, entries, device, options.limit)
    trained = json.loads((options.out / "training.json").read_text())
    figures["autoencoder"] = f"{trained['vae_psnr']:.1f} dB on its training pictures"
    figures["flow loss"] = f"{trained['right']:.3f} with the right captions, {trained['shuffled']:.3f} with others'"
    figures["training"] = f"{trained['steps']} steps of {trained['batch']} pictures"
    export.write_card(options.out, figures)
    sheet.save(options.grid)
    print(json.dumps(figures, indent=2, ensure_ascii=False), f"captions with unknown words: {unknown}", sep="\n")


def main() -> None:
    options = parse()
    options.run(options)


if __name__ == "__main__":
    main()
