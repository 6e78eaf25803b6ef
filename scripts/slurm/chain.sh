#!/bin/bash
# All stages as jobs that wait for each other:  RUN=runs/paper STORE=data/store scripts/slurm/chain.sh [options of sbatch]
set -euo pipefail
here=$(dirname "$0")
export RUN=${RUN:-runs/paper} STORE=${STORE:-data/store}

submit() { # dependency, then the words of stage.sbatch
    sbatch --parsable --job-name="apt-$2" ${1:+--dependency="afterok:$1"} "${options[@]}" "$here/stage.sbatch" "${@:2}"
}
options=("$@")
first=()
files=()
for modality in audio visual text; do
    first+=("$(submit "" "stage1_$modality")")
    files+=("\"$modality\":\"$RUN/stage1_$modality/best.ckpt\"")
done
inputs="--model.checkpoints={$(IFS=,; echo "${files[*]}")}"
after=$(IFS=:; echo "${first[*]}")
second=$(submit "$after" stage2 "$inputs")
third=$(submit "$after" stage3 "$inputs")
fourth=$(submit "$second:$third" stage4 \
    --model.fusion_ckpt="$RUN/stage2/best.ckpt" --model.siamese_ckpt="$RUN/stage3/best.ckpt")
echo "jobs ${first[*]} $second $third $fourth"
