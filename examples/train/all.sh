#!/bin/sh
# Everything, from the registry packages to the model cards. A part that was stopped goes on from .data/checkpoints;
# a finished part is only written out again. Further arguments go to every training script:
#   sh examples/train/all.sh --compile                  one GPU, or the CPU without one
#   LAUNCH="accelerate launch" sh examples/train/all.sh --compile     several GPUs
set -e
here=$(dirname "$0")
run=${LAUNCH:-${PYTHON:-python}}
export PYTHONPATH="$here/../..:$PYTHONPATH"

"${PYTHON:-python}" "$here/prepare.py"
$run "$here/train_vae.py" "$@"
$run "$here/train_clip.py" "$@"
for part in emoji emoji_flux fashion emoji_video; do
    $run "$here/train_$part.py" "$@"
done
"${PYTHON:-python}" "$here/reference.py"
for name in emoji emoji-flux fashion emoji-video; do
    "${PYTHON:-python}" "$here/evaluate.py" "$name"
    "${PYTHON:-python}" "$here/card.py" "$name"
done
