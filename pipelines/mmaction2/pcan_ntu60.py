# RGBPoseConv3D with PCAN's interaction and head on NTU RGB+D 60, cross-subject: 17 joints, 60 classes in 8 groups.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60.py 2
#
# Batch 24 over 2 GPUs: lr 0.001, a cosine to 1e-6 at epoch 80; for another batch B take 0.001 * B / 24.
# To start from streams of their own: backbone=dict(rgb_pretrained=..., pose_pretrained=...), or MMAction2's load_from.
# Skeletons: MMAction2's ntu60_2d.pkl. Videos: data/nturgbd_videos/<frame_dir>.mp4, as MMDecode looks for them.
_base_ = ["./_base_/default_runtime.py"]

model = dict(
    type="EPAMRecognizer",
    backbone=dict(type="PCANRGBPoseConv3D", num_joints=17),
    cls_head=dict(
        type="PCANRGBPoseHead",
        num_classes=60,
        num_coarse_classes=8,
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

data_root = "data/nturgbd_videos/"
clip_len = dict(RGB=8, Pose=32)
left_kp = [1, 3, 5, 7, 9, 11, 13, 15]
right_kp = [2, 4, 6, 8, 10, 12, 14, 16]
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
    batch_size=12,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="PoseDataset",
        ann_file="data/skeleton/ntu60_2d.pkl",
        split="xsub_train",
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
        ann_file="data/skeleton/ntu60_2d.pkl",
        split="xsub_val",
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
        ann_file="data/skeleton/ntu60_2d.pkl",
        split="xsub_val",
        data_prefix=dict(video=data_root),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type="AccMetric")
test_evaluator = val_evaluator

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=80, val_begin=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=40, norm_type=2),
)
param_scheduler = [
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=True, begin=0, end=80, convert_to_iter_based=True)
]
sync_bn = "torch"  # on several GPUs; MMEngine leaves a single process alone
auto_scale_lr = dict(enable=False, base_batch_size=24)
