#!/usr/bin/env bash
# EPAM-Net (X3D with temporal shifts) + PCAN's head on NTU RGB+D 60, cross-subject.
#
#   pipelines/train_ntu60_x3d.sh [--key value ...]              SHARDS, VIDEOS, SKELETONS, GPUS: see training.sh
SHARDS=${SHARDS:-shards/ntu60_epam_pcan}
source "$(dirname "$0")/training.sh"

check_shards ntu60 ntu60_epam_pcan
train ntu60_epam_pcan
