"""Locality, proved: learners in processes of their own, joined by pipes, give the numbers of learners in one."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from learning_bench import crossbar, task

from pib_lab.batches import batches
from pib_lab.entropy import input_gram
from pib_lab.learner import LocalLearner
from pib_lab.lessons import LearnBatch, LearnerConfig
from pib_lab.objectives import ConditionalEntropy, CrossEntropy, Objective
from pib_lab.quantities import Array

STEPS, BATCH, CLASSES = 4, 32, 4
SHAPES = {"hidden-1": (16, 12), "hidden-2": (12, 8), "read-out": (8, 4)}


def build(name: str) -> LocalLearner:
    """One learner on a crossbar of chip B, noise and all, started."""
    last = name == "read-out"
    objective: Objective = CrossEntropy() if last else ConditionalEntropy(beta=0.1)
    unit = crossbar(*SHAPES[name], profile="chip-b", name=name, seed=17)
    made = LocalLearner(unit, objective, LearnerConfig(rectify=not last), seed=len(name))
    made.start()
    return made


def serve(pipe: Connection, name: str) -> None:
    """A process with one learner. In: the first signal, then per step a drive, then targets; out: responses, losses."""
    torch.set_num_threads(1)
    made = build(name)
    pipe.send(made.calibrate(pipe.recv())[0])
    for _ in range(STEPS):
        pipe.send(made.forward(pipe.recv(), learn=True))
        labels, x_gram, number = pipe.recv()
        record = made.learn(LearnBatch(number, labels, CLASSES, x_gram, 0.02))
        pipe.send((record, made.parameters.believed()))
    pipe.close()


def work() -> list[tuple[Array, Any, Array]]:
    """The batches: input, labels and the input's Gram matrix."""
    split = task(STEPS * BATCH)
    made = []
    for index in batches(len(split.y), BATCH, 1, 0):
        x = split.x[index]
        made.append((x, split.y[index], input_gram(torch.from_numpy(x)).numpy()))
    return made


def in_one_process() -> list[Any]:
    """Responses, records and parameters of every step, from learners side by side."""
    learners, seen = [build(name) for name in SHAPES], []
    signal = work()[0][0]
    for made in learners:
        signal = made.calibrate(signal)[0]
    for number, (x, labels, x_gram) in enumerate(work()):
        signal = x
        for made in learners:
            signal = made.forward(signal, learn=True)
            seen.append(signal)
        for made in learners:
            seen.append(made.learn(LearnBatch(number, labels, CLASSES, x_gram, 0.02)))
            seen.append(made.parameters.believed())
    return seen


def in_separate_processes() -> list[Any]:
    """The same over pipes: what crosses is a drive, a response, labels, the input's Gram matrix and a number."""
    context, pipes, processes, seen = multiprocessing.get_context("spawn"), [], [], []
    for name in SHAPES:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, name), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    signal = work()[0][0]
    for pipe in pipes:
        pipe.send(signal)
        signal = pipe.recv()
    for number, (x, labels, x_gram) in enumerate(work()):
        signal = x
        for pipe in pipes:
            pipe.send(signal)
            signal = pipe.recv()
            seen.append(signal)
        for pipe in pipes:
            pipe.send((labels, x_gram, number))
        for pipe in pipes:
            seen.extend(pipe.recv())
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    return seen


def test_learners_in_separate_processes_give_the_same_numbers() -> None:
    """Responses, losses, pulses and parameters agree bit for bit over several steps on the noisy chip."""
    torch.set_num_threads(1)
    together, apart = in_one_process(), in_separate_processes()
    assert len(together) == len(apart) == STEPS * 9
    for one, other in zip(together, apart, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other
