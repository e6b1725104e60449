# pcan_ntu60_x3d.py, fed from shards in place of videos: build them by the header of pipelines/ntu60_epam_pcan.yaml.
#
#   bash tools/dist_train.sh pipelines/mmaction2/pcan_ntu60_x3d_shards.py 2
#
# Frames of 224 and heatmaps of 56 pixels, as stored; RGB takes every third pose frame; flips are drawn in training.
# The crop ends at the picture's edge, as EPAM-Net was published, where MMCompact above pads it (prepare.pad_image).
_base_ = ["./pcan_ntu60_x3d.py"]

shards = "shards/ntu60_epam_pcan"
train_dataloader = dict(dataset=dict(_delete_=True, type="ShardDataset", root=shards, split="train"))
val_dataloader = dict(
    batch_size=8, dataset=dict(_delete_=True, type="ShardDataset", root=shards, split="val", test_mode=True)
)
test_dataloader = dict(
    dataset=dict(
        _delete_=True, type="ShardDataset", root=shards, split="val", test_mode=True, stream=dict(num_clips=10)
    )
)
