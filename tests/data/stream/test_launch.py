import pytest

from epam_data.stream.launch import Launch, find_launch, first_host, slurm_port

TORCHRUN = {"WORLD_SIZE": "16", "RANK": "9", "LOCAL_RANK": "1"}
SRUN = {
    "SLURM_JOB_ID": "123",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
}


def test_a_process_that_nobody_started_is_alone():
    assert find_launch({}) == Launch() == find_launch({"WORLD_SIZE": "1"})
    batch_script = {"SLURM_NTASKS": "16", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "123"}
    assert find_launch(batch_script) == Launch(), "srun alone starts several"


def test_torchrun_comes_before_srun():
    expected = Launch(rank=9, local_rank=1, world=16, address="env://")
    assert find_launch(TORCHRUN) == find_launch(SRUN | TORCHRUN) == expected


def test_srun_meets_on_the_first_machine():
    port = slurm_port(SRUN)
    assert find_launch(SRUN) == Launch(
        rank=9, local_rank=1, world=16, address=f"tcp://gpu007:{port}", sees_own_gpu_alone=True
    )
    given = find_launch({**SRUN, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"})
    assert given.address == "tcp://127.0.0.1:29500"


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu007", "gpu007"),
        ("gpu[007-010,12],cpu1", "gpu007"),
        ("gpu[12,14]", "gpu12"),
        ("a1,a2", "a1"),
        ("rack[1-2]-gpu,b", "rack1-gpu"),
        ("node-3.cluster", "node-3.cluster"),
    ],
)
def test_the_first_of_a_list_of_nodes(nodes: str, host: str):
    assert first_host(nodes) == host


def test_steps_have_ports_of_their_own():
    ports = {slurm_port({"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}) for job in (1, 2) for step in range(5)}
    assert len(ports) == 10 and all(20000 <= port < 30000 for port in ports)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set, but RANK is not: start several processes with torchrun"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a number, got 'two'"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM_STEP_NUM_TASKS is set, but SLURM_PROCID is not: .* with srun"),
        ({**SRUN, "SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST must name the machines, got ''"),
    ],
)
def test_errors(environment: dict[str, str], message: str):
    with pytest.raises(ValueError, match=message):
        find_launch(environment)
