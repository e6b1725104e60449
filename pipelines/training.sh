# Functions of the train_*.sh scripts, which run from the root of the repository. They train only if the shards are complete.
#
# Environment variables: SHARDS, the folder of the shards; VIDEOS and SKELETONS, the raw data, checked if there are no shards
# yet; GPUS, the number of GPUs (default: all that CUDA_VISIBLE_DEVICES shows); BIN, the folder of the console scripts (default: PATH).
set -euo pipefail
EXTRA=("$@") # --key value of the caller, for every training

command_of() { echo "${BIN:+$BIN/}$1"; }

# torch counts the GPUs that CUDA_VISIBLE_DEVICES shows, of any maker.
GPUS=${GPUS:-$("$(command_of python)" -c 'import torch; print(torch.cuda.device_count())' 2>/dev/null || echo 0)}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# check_shards DATASET RECIPE: exits with a list of what is missing and the command that builds it.
check_shards() {
    local dataset=$1 recipe=$2 missing=()
    command -v "$(command_of epam-model)" >/dev/null || fail "epam-model is not installed: pip install ."
    if [[ ! -f $SHARDS/manifest.json ]]; then
        missing+=("$SHARDS: no finished shards")
        [[ -d ${VIDEOS:-} ]] || missing+=("VIDEOS: no folder of videos at '${VIDEOS:-}'")
        [[ -e ${SKELETONS:-} ]] || missing+=("SKELETONS: no skeleton pickle, or folder of them, at '${SKELETONS:-}'")
        fail "missing:" "${missing[@]/#/  }" "build the shards with:" \
            "  epam-data build pipelines/$recipe.yaml --raw.videos ${VIDEOS:-VIDEOS} --raw.skeletons ${SKELETONS:-SKELETONS} --out $SHARDS" \
            "  epam-data check $SHARDS --report $SHARDS.report"
    fi
    "$(command_of python)" - "$SHARDS" "$dataset" <<'END' || exit 1
import sys
from pathlib import Path

from epam_data.shards.manifest import load_manifest

root, dataset = Path(sys.argv[1]), sys.argv[2]
manifest = load_manifest(root)
if manifest.dataset != dataset:
    sys.exit(f"{root}: the shards are of {manifest.dataset}, expected {dataset}")
if absent := {"train", "val"} - {shard.split for shard in manifest.shards}:
    sys.exit(f"{root}: the shards hold no split {' and '.join(sorted(absent))}")
paths = {root / f"{shard.name}.tar": shard.num_bytes for shard in manifest.shards}
bad = [path.name for path, size in paths.items() if not path.is_file() or path.stat().st_size != size]
if bad:
    sys.exit(f"{root}: {len(bad)} of {len(paths)} shards are missing or cut short: {', '.join(bad[:5])}; build again")
clips = {name: sum(s.num_samples for s in manifest.shards if s.split == name) for name in ("train", "val", "test")}
print(f"{root}: {len(paths)} shards of {dataset}, " + ", ".join(f"{count:,} {name}" for name, count in clips.items()))
END
}

# train RECIPE [--key value ...]: trains into work_dirs/RECIPE, or resumes an interrupted run there.
train() {
    local recipe=$1 launch
    shift
    if ((GPUS > 1)); then
        launch=("$(command_of torchrun)" --standalone --nproc-per-node "$GPUS" -m epam_model.cli)
    else
        launch=("$(command_of epam-model)")
    fi
    compgen -G "work_dirs/$recipe/last*" >/dev/null && set -- --resume "$@"
    echo "== train $recipe"
    "${launch[@]}" train "pipelines/$recipe.yaml" --shards "$SHARDS" "$@" ${EXTRA[@]+"${EXTRA[@]}"}
}

# best RECIPE: prints its best checkpoint; of several, the newest.
best() { ls -t "work_dirs/$1/"best*.pt | head -n 1; }
