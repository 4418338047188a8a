"""Processes that train together train what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pairbench import InvalidParameter
from pairbench.training.recipe import Recipe
from pairbench.training.trl import TRLTrainer
from tests.training.conftest import reference, run_on, words

# Of nine labels, the second epoch's last two make a batch of their own.
SCRIPT = """
import json, os, sys
from pathlib import Path
import torch.distributed as processes
from tests.training.test_launched import losses_and_log_probs

found = [losses_and_log_probs(rank) for rank in (0, 2)]
assert processes.get_world_size() == 2
Path(sys.argv[1], os.environ["RANK"]).write_text(json.dumps(found))
processes.destroy_process_group()
"""


def losses_and_log_probs(lora_rank: int) -> tuple[list[float], list[list[float]]]:
    """Of a policy that is trained here."""
    recipe = Recipe(epochs=2, batch_size=4, learning_rate=1e-3, lora_rank=lora_rank)
    run = run_on(words(longest=4, shortest=1), n=9)
    trainer = TRLTrainer(reference(), recipe, 1.0)
    trained = trainer.fit_with_losses(run.pool, run.beta, run.pairs, run.labels)
    return trained.losses.tolist(), trained.policy.log_probs(run.pool).tolist()


@pytest.mark.slow
def test_two_processes_train_what_one_does(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # On the CPU, --cpu would start one process only: accelerate leaves several to MPI.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    # The reference, which is in float32, says in which numbers.
    command += ["--mixed_precision", "bf16", "--dynamo_backend", "no", str(script), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert done.returncode == 0, done.stdout.decode()[-3000:]
    first, second = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert first == second
    for lora_rank, (losses, log_probs) in zip((0, 2), first, strict=True):
        alone = losses_and_log_probs(lora_rank)
        assert len(losses) == 5
        np.testing.assert_allclose(losses, alone[0], atol=1e-5)
        np.testing.assert_allclose(log_probs, alone[1], atol=1e-4)


def test_a_batch_that_processes_cannot_share_is_told() -> None:
    trainer = TRLTrainer(reference(), Recipe(batch_size=6), 1.0, accumulation=2)
    assert trainer._part_size(3) == 1
    with pytest.raises(
        InvalidParameter, match=r"multiple of accumulation × processes, 2 × 4, .* 6"
    ):
        trainer._part_size(4)


def test_a_model_on_another_gpu_than_trls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pairbench.training.trl import _check_device

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for device in ("cpu", "cuda", "cuda:0"):
        _check_device(torch.device(device))
    with pytest.raises(InvalidParameter, match=r"on GPU 0 here, .* on 'cuda:1'.*_DEVICES=1 lets"):
        _check_device(torch.device("cuda:1"))
    monkeypatch.setenv("LOCAL_RANK", "1")
    _check_device(torch.device("cuda:1"))
    with pytest.raises(InvalidParameter, match="on GPU 1 here"):
        _check_device(torch.device("cuda:0"))
