# EPAM-Net (X3D with shifts) with PCAN's head on NTU RGB+D 60, cross-subject: 60 classes in 8 groups.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60_x3d.py 2
#
# Batch 32 over 2 GPUs: lr 0.012 after 5 epochs of warm-up, a cosine to 1e-6 at epoch 80; for another batch B take
# 0.012 * B / 32. It stops when fused top-1 has not risen for 15 epochs.
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
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=80)
optim_wrapper = dict(optimizer=dict(lr=0.012, weight_decay=2e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=True, begin=5, end=80, convert_to_iter_based=True),
]
custom_hooks = [dict(type="EarlyStoppingHook", monitor="acc/RGBPose_1:1_top1", rule="greater", patience=15)]
auto_scale_lr = dict(base_batch_size=32)
