# NTU RGB+D 60, cross-subject, from videos; the pipelines are the configs', since their first step knows the network.
_base_ = ["./two_streams.py"]

train_steps = [
    *_base_.decode,
    *_base_.crop,
    dict(type="Flip", flip_ratio=0.5, left_kp=[1, 3, 5, 7, 9, 11, 13, 15], right_kp=[2, 4, 6, 8, 10, 12, 14, 16]),
    *_base_.draw,
]

videos = dict(ann_file="data/skeleton/ntu60_2d.pkl", data_prefix=dict(video="data/nturgbd_videos/"))
train_dataloader = dict(dataset=dict(split="xsub_train", **videos))
val_dataloader = dict(dataset=dict(split="xsub_val", **videos))
test_dataloader = val_dataloader
