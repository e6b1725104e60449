# RGBPoseConv3D with PCAN's interaction and head on MA-52: 28 joints, 52 classes in 7 body groups.
#
#   bash tools/dist_train.sh pipelines/mmaction2/rgbpose_conv3d.py 2
#
# Batch 16 over 2 GPUs: lr 0.001 all along, 50 epochs; for another batch B take 0.001 * B / 16.
# PCAN's own schedule: lr 0.0075, batch 10, 30 epochs, steps at 10 and 20, from two pretrained streams:
# backbone=dict(rgb_pretrained=..., pose_pretrained=...). The mirrored fingertips are paired, which the published flip forgets.
_base_ = ["./_base_/default_runtime.py"]

model = dict(
    type="EPAMRecognizer",
    backbone=dict(type="PCANRGBPoseConv3D", num_joints=28),
    cls_head=dict(
        type="PCANRGBPoseHead",
        num_classes=52,
        num_coarse_classes=7,
        in_channels=[2048, 512],
        loss_components=["rgb", "pose"],
        loss_weights=[1.0, 1.0],
        average_clips="prob",
    ),
    data_preprocessor=dict(
        type="MultiModalDataPreprocessor",
        preprocessors=dict(
            imgs=dict(
                type="ActionDataPreprocessor",
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                format_shape="NCTHW",
            ),
            heatmap_imgs=dict(type="ActionDataPreprocessor"),
        ),
    ),
)

data_root = "data/ma52/raw_videos/"
clip_len = dict(RGB=8, Pose=32)
left_kp = [5, 6, 7, 11, 12, 13, 15, 17, 18, 19, 20, 21, 22]
right_kp = [2, 3, 4, 8, 9, 10, 14, 16, 23, 24, 25, 26, 27]
decode = [
    dict(type="MMDecode"),
    dict(type="MMCompact", hw_ratio=1.0, allow_imgpad=True),
    dict(type="Resize", scale=(256, 256), keep_ratio=False),
]
draw = [
    dict(type="GeneratePoseTarget", sigma=0.7, use_score=True, with_kp=True, with_limb=False, scaling=0.25),
    dict(type="FormatShape", input_format="NCTHW"),
    dict(type="PackActionInputs", collect_keys=("imgs", "heatmap_imgs")),
]
train_pipeline = [
    dict(type="MMUniformSampleFrames", clip_len=clip_len),
    *decode,
    dict(type="RandomResizedCrop", area_range=(0.56, 1.0)),
    dict(type="Resize", scale=(224, 224), keep_ratio=False),
    dict(type="Flip", flip_ratio=0.5, left_kp=left_kp, right_kp=right_kp),
    *draw,
]
val_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, test_mode=True), *decode, *draw]
test_pipeline = [dict(type="MMUniformSampleFrames", clip_len=clip_len, num_clips=10, test_mode=True), *decode, *draw]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="PoseDataset",
        ann_file="data/ma52/MA52_train.pkl",
        data_prefix=dict(video=data_root),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="PoseDataset",
        ann_file="data/ma52/MA52_val.pkl",
        data_prefix=dict(video=data_root),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="PoseDataset",
        ann_file="data/ma52/MA52_val.pkl",
        data_prefix=dict(video=data_root),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type="AccMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=50, val_begin=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=40, norm_type=2),
)
sync_bn = "torch"  # on several GPUs; MMEngine leaves a single process alone
auto_scale_lr = dict(enable=False, base_batch_size=16)
