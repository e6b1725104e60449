# RGBPoseConv3D with PCAN's interaction and head on MA-52: 28 joints, 52 classes in 7 body groups.
#
#   bash tools/dist_train.sh pipelines/mmaction2/rgbpose_conv3d.py 2
#
# Batch 16 over 2 GPUs: lr 0.001 all along, 50 epochs; for another batch B take 0.001 * B / 16.
# PCAN's own schedule: lr 0.0075, batch 10, 30 epochs, steps at 10 and 20, from two pretrained streams:
# backbone=dict(rgb_pretrained=..., pose_pretrained=...). The mirrored fingertips are paired, which the published flip forgets.
_base_ = ["./_base_/two_streams.py"]

model = dict(
    backbone=dict(type="PCANRGBPoseConv3D", num_joints=28),
    cls_head=dict(num_classes=52, num_coarse_classes=7, in_channels=[2048, 512]),
)

clip_len = dict(RGB=8, Pose=32)
left_kp = [5, 6, 7, 11, 12, 13, 15, 17, 18, 19, 20, 21, 22]
right_kp = [2, 3, 4, 8, 9, 10, 14, 16, 23, 24, 25, 26, 27]
train_pipeline = [
    dict(type="MMUniformSampleFrames", clip_len=clip_len),
    *_base_.decode,
    *_base_.crop,
    dict(type="Flip", flip_ratio=0.5, left_kp=left_kp, right_kp=right_kp),
    *_base_.draw,
]
val_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, test_mode=True), *_base_.val_steps]
test_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, num_clips=10, test_mode=True), *_base_.val_steps]
data_prefix = dict(video="data/ma52/raw_videos/")
train_dataloader = dict(
    batch_size=8,
    dataset=dict(ann_file="data/ma52/MA52_train.pkl", data_prefix=data_prefix, pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(ann_file="data/ma52/MA52_val.pkl", data_prefix=data_prefix, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(ann_file="data/ma52/MA52_val.pkl", data_prefix=data_prefix, pipeline=test_pipeline))

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=0.001))
auto_scale_lr = dict(base_batch_size=16)
