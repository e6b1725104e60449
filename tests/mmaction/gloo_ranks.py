"""Imported by a configuration of two processes without GPUs: joins them, and compares them after the training."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import distributed

distributed.init_process_group("gloo")  # MMEngine's own start would ask for a GPU


@HOOKS.register_module()
class RanksAgree(Hook):
    """Weights and prototypes are the same on all ranks, though each saw its own clips."""

    def before_train(self, runner) -> None:
        self.keys: list[str] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.keys += [sample.video_id for sample in data_batch["data_samples"]]

    def after_train(self, runner) -> None:
        state = runner.model.module.state_dict()
        mine = {name: value for name, value in state.items() if "running" not in name}  # statistics are each rank's own
        everyone: list = [None] * distributed.get_world_size()
        distributed.all_gather_object(everyone, (mine, self.keys))
        (first, keys), (second, others) = everyone
        differ = [name for name in first if not torch.equal(first[name], second[name])]
        runner.logger.info(f"ranks differ in {differ}; clips {sorted(keys + others)}")
