#!/usr/bin/env bash
# RGBPoseConv3D + PCAN on NTU RGB+D 60, cross-subject: train each stream alone, then both together.
#
#   pipelines/train_ntu60_original.sh [--key value ...]         SHARDS, VIDEOS, SKELETONS, GPUS: see training.sh
SHARDS=${SHARDS:-shards/ntu60_rgbpose}
source "$(dirname "$0")/training.sh"

check_shards ntu60 ntu60_rgbpose
train ntu60_rgbpose_rgb
train ntu60_rgbpose_pose
rgb=$(best ntu60_rgbpose_rgb)
pose=$(best ntu60_rgbpose_pose)
train ntu60_rgbpose --model.init_from "[$rgb, $pose]"
