# EPAM-Net on NTU RGB+D 60, cross-subject, with PCAN's head (60 classes in 8 groups) and MMAction2's schedule.
#
#   bash tools/dist_train.sh pipelines/mmaction2/epam_ntu60_baseline.py 1
#
# Batch 8 in all: SGD 0.01, a tenth of it from epoch 20 and again from 40, 50 epochs.
# Skeletons: MMAction2's ntu60_2d.pkl. Videos: data/nturgbd_videos/<frame_dir>.mp4, as MMDecode looks for them.
_base_ = ["./_base_/ntu60_videos.py"]

model = dict(
    backbone=dict(type="EPAMBackbone"),
    cls_head=dict(
        num_classes=60,
        num_coarse_classes=8,
        in_channels=[432, 216],
        loss_components=["rgb", "pose", "rgb_coarse", "pose_coarse"],
        loss_weights=[1.0, 1.2, 0.5, 0.9],
    ),
)

clip_len = dict(RGB=16, Pose=48)
train_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len), *_base_.train_steps]
val_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, test_mode=True), *_base_.val_steps]
test_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, num_clips=10, test_mode=True), *_base_.val_steps]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [dict(type="MultiStepLR", begin=0, end=50, by_epoch=True, milestones=[20, 40], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=8)
