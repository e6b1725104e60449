# RGBPoseConv3D with PCAN's interaction and head on NTU RGB+D 60, cross-subject: 17 joints, 60 classes in 8 groups.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60.py 2
#
# Batch 24 over 2 GPUs: lr 0.001, a cosine to 1e-6 at epoch 80; for another batch B take 0.001 * B / 24.
# To start from streams of their own: backbone=dict(rgb_pretrained=..., pose_pretrained=...), or MMAction2's load_from.
# Skeletons: MMAction2's ntu60_2d.pkl. Videos: data/nturgbd_videos/<frame_dir>.mp4, as MMDecode looks for them.
_base_ = ["./_base_/ntu60_videos.py"]

model = dict(
    backbone=dict(type="PCANRGBPoseConv3D", num_joints=17),
    cls_head=dict(num_classes=60, num_coarse_classes=8, in_channels=[2048, 512]),
)

clip_len = dict(RGB=8, Pose=32)
train_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len), *_base_.train_steps]
val_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, test_mode=True), *_base_.val_steps]
test_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, num_clips=10, test_mode=True), *_base_.val_steps]
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=80)
optim_wrapper = dict(optimizer=dict(lr=0.001))
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=True, begin=0, end=80, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=24)
