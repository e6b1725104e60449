# epam_ntu60_baseline_shards.py with plain heads, without coarse groups and prototypes.
#
#   bash tools/dist_train.sh pipelines/mmaction2/epam_ntu60_plain_shards.py 1
_base_ = ["./epam_ntu60_baseline_shards.py"]

model = dict(cls_head=dict(num_coarse_classes=0, loss_components=["rgb", "pose"], loss_weights=[1.0, 1.0]))
