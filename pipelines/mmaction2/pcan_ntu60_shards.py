# pcan_ntu60.py, fed from shards in place of videos: build them by the header of pipelines/ntu60_rgbpose.yaml.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60_shards.py 2
#
# Training crops 256 to 224 pixels and draws heatmaps of 56 for each crop; evaluation sees all of the 256.
_base_ = ["./pcan_ntu60.py"]

shards = "shards/ntu60_rgbpose"
stream = dict(
    rgb_frames=8, pose_frames=32, sampling="independent", heatmap="drawn", train_crop="random_resized", crop_px=224
)
train_dataloader = dict(dataset=dict(_delete_=True, type="ShardDataset", root=shards, split="train", stream=stream))
val_dataloader = dict(
    batch_size=8,
    dataset=dict(_delete_=True, type="ShardDataset", root=shards, split="val", test_mode=True, stream=stream),
)
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="ShardDataset",
        root=shards,
        split="val",
        test_mode=True,
        stream=dict(num_clips=10, **stream),
    )
)
