# pcan_ntu60_x3d.py in mixed precision: float16 with a loss scale that adapts; losses and prototypes stay in float32.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60_x3d_amp.py 2
#
# bfloat16, which needs no scale: optim_wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16", loss_scale=1.0).
_base_ = ["./pcan_ntu60_x3d.py"]

optim_wrapper = dict(type="AmpOptimWrapper", dtype="float16", loss_scale="dynamic")
