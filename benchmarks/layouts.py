"""How many local steps follow each other in a round of ragged clients: the README's table.

    python benchmarks/layouts.py [--seeds 5] [--cohorts 20]

50,000 samples of 10 classes are dealt to 100 clients by Dirichlet's distribution; a local epoch is
cut into batches of 32. For each kind of machine and model, on images of 32 x 32 x 3, the rule
chooses a layout and a width. Cohorts are then run here, with a model so small that only the steps
count, and the steps that the program says it executed are held against the fewest that there can
be at that width: those of the largest client, or of all clients by the number of places if that is
more. Beside it stands the rule for a CPU with clients side by side, which takes the largest chunk
of which at most 5 % are padding.
Writes every figure to benchmarks/results/layouts.json.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from recording import write

from fedcode_jax import models
from fedcode_jax.algorithms import Start
from fedcode_jax.clients import (
    ClientData,
    LocalTraining,
    Plan,
    dealt,
    optimizer,
    plan_choices,
    run_cohort,
    step_price,
)
from fedcode_jax.clients.batches import num_steps
from fedcode_jax.clients.choosing import price_of
from fedcode_jax.clients.occupancy import fewest_steps, sampled_cohorts
from fedcode_jax.clients.prices import StepPrice
from fedcode_jax.data import partition

CLIENTS, SAMPLES, CLASSES, BATCH, SHAPE = 100, 50_000, 10, 32, (32, 32, 3)
ALPHAS, COHORTS, MODELS, TARGETS = (0.5, 0.1), (10, 100), ("cnn", "resnet20"), ("gpu", "tpu")
MOST = 1.3


@functools.cache
def priced(model: str, target: str) -> tuple[Any, StepPrice]:
    """The shapes of a model, and what a step of it takes."""
    module = models.make(model, CLASSES)
    training = LocalTraining(module, optimizer("adam", 1e-3), epochs=1, batch_size=BATCH)
    weights = jax.eval_shape(lambda key: models.init(module, key, SHAPE), jax.random.key(0))
    return weights, step_price(training, weights, SHAPE, target)


def clients_of(alpha: float, seed: int) -> ClientData:
    labels = np.repeat(np.arange(CLASSES), SAMPLES // CLASSES)
    dealt_out = partition.dirichlet(labels, CLIENTS, alpha=alpha, seed=seed)
    one = np.ones(1, np.float32)
    return ClientData.from_arrays(
        np.zeros((SAMPLES, 1), np.float32), labels, one, one, dealt_out.clients
    )


@functools.cache
def runner(chunk: int, layout: str, cohort: int) -> Any:
    """(data, clients) -> local steps executed, of a program of one number for each class."""
    training = LocalTraining(models.mlp(CLASSES, hidden=()), optax.sgd(0.1), 1, BATCH)
    plan = Plan("vmap", chunk, "native", layout=layout)
    weights = models.init(training.model, jax.random.key(0), (1,))

    @jax.jit
    def run(data: ClientData, clients: jax.Array) -> jax.Array:
        order = dealt(plan, num_steps(data.sizes[clients], 1, BATCH))
        return run_cohort(
            *(training, plan, data, clients[order], weights, jnp.zeros(cohort)),
            jax.random.split(jax.random.key(0), cohort),
            begin=lambda shared, row: (Start(shared), True),
            finish=lambda shared, row, work, key: work.loss,
            max_size=SAMPLES // 8,
        ).executed_steps

    return lambda data, clients: int(run(data, clients)) // min(chunk, cohort)


def compare(data: ClientData, alpha: float, cohort: int, seed: int, cohorts: int) -> list[dict]:
    """The rule's plans for one partition, and what they come to."""
    sizes = np.asarray(data.sizes)
    work = {"sizes": sizes.tolist(), "cohort": cohort, "epochs": 1, "batch_size": BATCH}
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(CLIENTS, cohort, replace=False) for _ in range(cohorts)]
    drawn = drawn if cohort < CLIENTS else drawn[:1]
    steps = np.array([-(-sizes[ids] // BATCH) for ids in drawn])
    sampled = sampled_cohorts(sizes.tolist(), cohort, epochs=1, batch_size=BATCH)

    def executed(plan: Plan) -> list[int]:
        run = runner(plan.chunk, plan.layout, cohort)
        return [run(data, jnp.asarray(ids)) for ids in drawn]

    by_waste = next(plan_choices("cpu", weights={}, client_axis="vmap", **work))
    before = executed(by_waste)
    rows = []
    for model in MODELS:
        for target in TARGETS:
            weights, cost = priced(model, target)
            price = lambda lowering, cost=cost: cost  # noqa: E731
            plan = next(plan_choices(target, weights=weights, price=price, **work))
            found, fewest = executed(plan), fewest_steps(steps, min(plan.chunk, cohort))
            costs = [price_of(sampled, p.chunk, p.layout, 1, cost) for p in (plan, by_waste)]
            rows.append(
                {
                    **{"alpha": alpha, "cohort": cohort, "seed": seed},
                    **{"model": model, "target": target, "price": cost._asdict()},
                    **{"chunk": plan.chunk, "layout": plan.layout, "reason": plan.reason},
                    **{"steps": found, "fewest": fewest.tolist(), "needed": steps.sum(1).tolist()},
                    **{"chunk_by_waste": by_waste.chunk, "steps_by_waste": before},
                    "price_of_by_waste": costs[1] / costs[0],
                }
            )
    return rows


def table(rows: list[dict]) -> list[dict]:
    """Means over seeds and cohorts."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = (row["alpha"], row["cohort"], row["model"], row["target"])
        groups.setdefault(key, []).append(row)
    lines = []
    for (alpha, cohort, model, target), own in groups.items():
        every = {name: np.concatenate([row[name] for row in own]) for name in ("steps", "fewest")}
        before = np.concatenate([row["steps_by_waste"] for row in own])
        lines.append(
            {
                **{"alpha": alpha, "cohort": cohort, "model": model, "target": target},
                "chosen": sorted({f"{row['chunk']} {row['layout']}" for row in own}),
                **{name: round(float(values.mean()), 1) for name, values in every.items()},
                "ratio": round(float(every["steps"].sum() / every["fewest"].sum()), 3),
                "largest_ratio": round(float((every["steps"] / every["fewest"]).max()), 3),
                "chunks_by_waste": sorted({row["chunk_by_waste"] for row in own}),
                "steps_by_waste": round(float(before.mean()), 1),
                "price_of_by_waste": round(
                    float(np.mean([r["price_of_by_waste"] for r in own])), 2
                ),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cohorts", type=int, default=20, help="of each seed, where drawn")
    options = parser.parse_args()
    rows = []
    for alpha in ALPHAS:
        for seed in range(options.seeds):
            data = clients_of(alpha, seed)
            for cohort in COHORTS:
                rows += compare(data, alpha, cohort, seed, options.cohorts)
    lines = table(rows)
    print(
        "| alpha | clients | model, target | chosen | steps, fewest | ratio, largest | by waste |"
    )
    print("|---|---|---|---|---|---|---|")
    for line in lines:
        print(
            f"| {line['alpha']} | {line['cohort']} of {CLIENTS} "
            f"| {line['model']}, {line['target']} "
            f"| {', '.join(line['chosen'])} | {line['steps']}, {line['fewest']} "
            f"| {line['ratio']:.2f}, {line['largest_ratio']:.2f} "
            f"| {'/'.join(map(str, line['chunks_by_waste']))}: {line['steps_by_waste']} steps, "
            f"{line['price_of_by_waste']} times the price |"
        )
    print(f"at most {MOST}: {all(line['ratio'] <= MOST for line in lines)}")
    print(write("layouts", {"table": lines, "runs": rows}))


if __name__ == "__main__":
    main()
