"""Schedules against closed forms and against torch's schedulers."""

import math

import pytest
import torch

from datamodules.errors import InputError
from zoo.core.schedules import Constant, Cosine, Linear, Schedule, Step


def test_cosine_is_torchs():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100, eta_min=0.1)
    ours = Cosine(warmup=0.0, final=0.1)
    for step in range(101):
        assert ours(step / 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize(("restarts", "growth"), [(0, 1), (3, 1), (1, 2), (3, 2), (2, 3)])
def test_restarts_are_torchs(restarts, growth):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=16, T_mult=growth, eta_min=0.1)
    ours, steps = Cosine(0.0, 0.1, restarts, growth), 16 * sum(growth**k for k in range(restarts + 1))
    for step in range(steps):
        # A moment later, because rounding may put a restart on either side of its step.
        assert ours(step / steps + 1e-9) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        theirs.step()
    assert ours(1.0) == pytest.approx(0.1)


def test_restarts_follow_the_warmup():
    schedule = Cosine(warmup=0.2, restarts=1)
    points = {0.1: 0.5, 0.2: 1.0, 0.4: 0.5, 0.599: 0.0, 0.601: 1.0, 0.8: 0.5, 1.0: 0.0}
    assert [schedule(fraction) for fraction in points] == pytest.approx(list(points.values()), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "options"), [(Constant, {}), (Step, {"milestones": [0.5]}), (Cosine, {}), (Linear, {})]
)
def test_every_schedule_has_a_warmup(kind, options):
    """It rises as torch's LinearLR does; Constant and Step are then what they are without it."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1e-9, total_iters=25)
    ours = kind(warmup=0.25, **options)
    for step in range(26):
        assert ours(step / 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        theirs.step()
    if kind in (Constant, Step):
        assert [ours(k / 100) for k in range(25, 101)] == [kind(**options)(k / 100) for k in range(25, 101)]


def test_linear_is_torchs_triangle():
    """OneCycleLR with linear annealing from 0.1 to the peak and back to 0."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=101, pct_start=21 / 101, anneal_strategy="linear", div_factor=10,
        final_div_factor=1e9,
    )  # fmt: skip
    ours = Linear(warmup=0.2, start=0.1)  # torch's peak is at step 101 * pct_start - 1 = 20, its end at step 100
    for step in range(101):
        assert ours(step / 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        if step < 100:
            theirs.step()


def test_step_multiplies_at_milestones():
    schedule = Step(milestones=[0.5, 0.75], factor=0.1)
    assert [schedule(f) for f in (0.0, 0.49, 0.5, 0.74, 0.75, 1.0)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("schedule", [Linear(), Linear(warmup=0), Cosine(), Cosine(warmup=0.5), Linear(0.1, 0.3)])
def test_rises_to_1_at_the_end_of_the_warmup_then_falls_to_final(schedule):
    assert schedule(schedule.warmup) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(schedule.final)
    rising = [schedule(schedule.warmup * k / 50) for k in range(50)] if schedule.warmup else []
    falling = [schedule(schedule.warmup + (1 - schedule.warmup) * k / 50) for k in range(51)]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("cls", Schedule.__subclasses__())
def test_is_finite_and_never_negative(cls):
    for k in range(101):
        factor = cls()(k / 100)
        assert math.isfinite(factor)
        assert 0 <= factor <= 1


def test_a_warmup_of_nothing_or_everything():
    points = (0.0, 0.25, 0.75, 1.0)
    assert [Linear(warmup=0.0)(f) for f in points] == pytest.approx([1, 0.75, 0.25, 0])
    assert [Cosine(warmup=0.0)(f) for f in points] == pytest.approx([1, (2 + 2**0.5) / 4, (2 - 2**0.5) / 4, 0])
    for schedule in (Linear(warmup=1.0), Cosine(warmup=1.0)):
        assert [schedule(f) for f in (0.0, 0.25, 0.75, 0.999)] == pytest.approx([0, 0.25, 0.75, 0.999])
        assert schedule(1.0) == 0


def test_constant():
    assert {Constant()(f) for f in (0, 0.3, 1)} == {1.0}


@pytest.mark.parametrize(
    ("build", "culprit"),
    [
        (lambda: Linear(warmup=1.5), "warmup=1.5"),
        (lambda: Cosine(final=-0.1), "final=-0.1"),
        (lambda: Linear(start=2), "start=2"),
        (lambda: Step(milestones=[0.5, 60]), "milestones=60"),
        (lambda: Step(factor=-1), "factor=-1"),
        (lambda: Step(factor=math.nan), "factor=nan"),
        (lambda: Step(factor=math.inf), "factor=inf"),
        (lambda: Linear(warmup=math.nan), "warmup=nan"),
        (lambda: Cosine(final=math.inf), "final=inf"),
        (lambda: Step(milestones=[math.nan]), "milestones=nan"),
        (lambda: Constant(warmup=-0.1), "warmup=-0.1"),
        (lambda: Step(warmup=1.1), "warmup=1.1"),
        (lambda: Cosine(restarts=-1), "restarts=-1"),
        (lambda: Cosine(restarts=101), "restarts=101"),
        (lambda: Cosine(growth=0.5), "growth=0.5"),
        (lambda: Cosine(growth=math.nan), "growth=nan"),
    ],
)
def test_out_of_range(build, culprit):
    with pytest.raises(InputError, match=culprit):
        build()


def test_linear_from_a_start():
    """The triangle of airbench95: 0.2 at first, 1 after 23 %, 0.07 in the end."""
    schedule = Linear(warmup=0.23, start=0.2, final=0.07)
    points = {0.0: 0.2, 0.115: 0.6, 0.23: 1.0, 0.615: 0.535, 1.0: 0.07}
    assert [schedule(fraction) for fraction in points] == pytest.approx(list(points.values()))
    assert Linear(warmup=0.0, start=0.2)(0.0) == 1.0
