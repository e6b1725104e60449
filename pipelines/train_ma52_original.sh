#!/usr/bin/env bash
# RGBPoseConv3D + PCAN on MA-52: train each stream alone, then both together, then write predictions for the evaluation server.
#
#   pipelines/train_ma52_original.sh [--key value ...]          SHARDS, VIDEOS, SKELETONS, GPUS: see training.sh
SHARDS=${SHARDS:-shards/ma52_rgbpose}
source "$(dirname "$0")/training.sh"

check_shards ma52 ma52_rgbpose
train ma52_rgbpose_rgb
train ma52_rgbpose_pose
rgb=$(best ma52_rgbpose_rgb)
pose=$(best ma52_rgbpose_pose)
train ma52_rgbpose --model.init_from "[$rgb, $pose]"
if compgen -G "$SHARDS/test-*.tar" >/dev/null; then
    both=$(best ma52_rgbpose)
    "$(command_of epam-model)" predict pipelines/ma52_rgbpose.yaml --shards "$SHARDS" --split test \
        --checkpoint "$both" --submission work_dirs/ma52_rgbpose/submission.zip
fi
