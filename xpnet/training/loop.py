"""The training loop: for every epoch, for every batch, a step; then record, report, and check whether to stop."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from xpnet._checks import boolean, function, non_negative_number, positive_integer, positive_number
from xpnet._types import Array, State
from xpnet.backends import HOST, CannotCompile, NoCompiler
from xpnet.core.epochs import NetworkChunk, Orders
from xpnet.core.members import Members, joined
from xpnet.core.step import objective
from xpnet.data.incoming import TrainingData
from xpnet.data.samples import Samples
from xpnet.training import lbfgs
from xpnet.training.early_stopping import Best, EarlyStopping
from xpnet.training.options import TrainingOptions
from xpnet.training.progress import Progress, new_optimizer_state
from xpnet.training.run import Run

host = HOST.xp


def train(
    network: Any,
    options: TrainingOptions,
    *,
    learning_rate: Any,
    batch_size: Any,
    shuffle: Any,
    orders: Any,
    schedule: Any,
    members_at_once: Any,
    compile: Any,
) -> None:
    """Train a network by gradient descent: see `NeuralNetwork.train`."""
    settings = network._settings
    members: Members = network._members
    rate = settings.per_member("learning_rate", learning_rate, positive_number)
    size = None if batch_size is None else positive_integer("batch_size", batch_size)
    at_once = None if members_at_once is None else positive_integer("members_at_once", members_at_once)
    shuffle = boolean("shuffle", shuffle)
    if not (isinstance(compile, bool) or compile == "auto"):
        msg = f"compile must be True, False or 'auto', got {compile!r}"
        raise ValueError(msg)
    if schedule is not None:
        function("schedule, such as xpnet.schedules.cosine(50),", schedule, "(xp, t, history)")

    if orders is not None:
        function("orders", orders, "(epoch)")
        if shuffle:
            msg = "shuffle must be False with orders, got both"
            raise ValueError(msg)

    data = options.data_for(network)
    backend, N = data.backend, data.samples.size
    if orders is not None:
        orders = Orders(orders, N, settings.ensemble, network._snapshot.history.epochs)
        N = orders.shape[-1]
    size = min(size or N, N)
    steps = -(-N // size)
    with backend.on_device():
        each_rate = rate if isinstance(rate, tuple) else (rate,) * len(settings.seeds)
        rates = backend.asarray([[each] for each in each_rate] if settings.ensemble else rate, settings.dtype)

    if schedule is not None:
        history = network._snapshot.history
        members.try_schedule(schedule, history, steps, range(history.epochs, history.epochs + options.epochs))
    _dry_run(members, data, options, network._snapshot.moved(backend), rates)

    def announce() -> None:
        if options.verbose and sys.stderr.isatty():
            print("Compiling the training step, once for this kind of network ...", file=sys.stderr)

    initial_early_stopping = partial(_initial_early_stopping, members, data)
    form, cause = data.samples.form, _cause(min(each_rate), max(each_rate))
    run = Run(network, backend, options, form=form, initial_early_stopping=initial_early_stopping, cause=cause)
    try:
        with run:
            chunks = _network_chunks(
                *(members, run, data.samples, rates),
                compile=compile,
                announce=announce,
                batch_size=size,
                shuffle=shuffle,
                orders=orders,
                at_once=at_once,
            )
            measures, continues = bool(options.metrics) or data.held_out is not None, True
            while continues:
                epochs, factors = run.next_epochs(chunks, measures=measures), None
                if schedule is not None:
                    factors = members.factors(schedule, network._snapshot.history, steps, epochs)
                    epochs = epochs[: factors.shape[0] // steps]
                with backend.on_device():
                    for chunk in chunks:  # all networks together, or in chunks that fit into memory
                        chunk.train(epochs, factors)
                    state, losses = joined(backend.xp, chunks)
                measured = members.measure_epoch(data, options.metrics, state.theta, losses)
                continues = run.after_epochs(state, measured)
    finally:
        run.end()  # once more, in case Ctrl-C interrupted the end of the run


def explain_step(network: Any, batch_size: int) -> str:
    """Return the loops of a compiled step as text; see `NeuralNetwork.explain_step`."""
    settings, snapshot, backend = network._settings, network._snapshot, network._snapshot.backend
    with backend.on_device():
        rows = [
            backend.asarray(host.zeros((positive_integer("batch_size", batch_size), n)), settings.dtype)
            for n in (settings.sizes[0], settings.sizes[-1])
        ]
        rates = backend.asarray(host.ones((*settings.ensemble_shape, 1) if settings.ensemble else ()), settings.dtype)
    state = snapshot.state._replace(optimizer_state=new_optimizer_state(settings, backend, snapshot.theta))
    samples = Samples(backend, settings.dtype, *rows)
    (chunk, *_) = network._members.network_chunks(*(backend, state, samples, rates), batch_size=batch_size)
    return str(backend.compiler().explain(chunk.step, chunk.state, chunk.batches))


def train_by_lbfgs(
    network: Any, options: TrainingOptions, *, gradient_tol: Any, loss_tol: Any, max_evaluations: Any
) -> Any:
    """Train a network by L-BFGS: see `NeuralNetwork.train_lbfgs`."""
    settings, members = network._settings, network._members
    lbfgs.scipy_optimize()
    refused = {"ensemble": settings.ensemble, "dropout": any(settings.dropout), **settings.regularization}
    names = [name for name, value in refused.items() if value and name not in ("l2", "alpha")]
    if names:
        hint = "; use weight_decay=0 to disable that of the optimizer" if settings.optimizer.weight_decay else ""
        msg = f"train_lbfgs must be called on a network without {', '.join(names)}{hint}"
        raise ValueError(msg)
    gradient_tol = non_negative_number("gradient_tol", gradient_tol, "float64")
    loss_tol = non_negative_number("loss_tol", loss_tol, "float64")
    if max_evaluations is not None:
        max_evaluations = positive_integer("max_evaluations", max_evaluations)

    data = options.data_for(network)
    backend, xp = data.backend, data.backend.xp
    _dry_run(members, data, options, network._snapshot.moved(backend))
    with backend.on_device():
        strengths = members.regularization(backend, weight_scale=data.samples.weight_scale)
        value_and_gradient = objective(members.step(backend), *data.samples.columns(), strengths)

    initial_early_stopping = partial(_initial_early_stopping, members, data)
    form, cause = data.samples.form, "the data should be scaled"
    run = Run(network, backend, options, form=form, initial_early_stopping=initial_early_stopping, cause=cause)
    try:
        with run:
            optimizer_state = new_optimizer_state(settings, backend, run.state.theta)

            def after_iteration(theta: Array) -> bool:
                with backend.on_device():
                    losses = members.measure(backend, theta, data.samples, {})["loss"][None, ...]
                    finite = bool(xp.isfinite(losses[0]))
                # A loss that is not finite ends the training, and does not change the network.
                state = State(theta, optimizer_state) if finite else run.state
                measured = members.measure_epoch(data, options.metrics, state.theta, losses)
                return run.after_epochs(state, measured) and finite

            return lbfgs.minimize(
                backend,
                value_and_gradient,
                run.state.theta,
                iterations=options.epochs,
                gradient_tol=gradient_tol,
                loss_tol=loss_tol,
                max_evaluations=max_evaluations,
                after_iteration=after_iteration,
            )
    finally:
        run.end()


def _dry_run(
    members: Members, data: TrainingData, options: TrainingOptions, now: Progress, rates: Array = None
) -> None:
    """Validate custom parts on some samples, before the network changes."""
    members.try_parts(data.backend)
    with data.backend.on_device():
        if rates is not None:
            members.try_update(data.backend, now.state, rates)
        for samples in (data.measured, data.held_out):
            if samples is not None:
                members.check_metrics(samples, options.metrics)
        if options.metrics or data.held_out is not None:
            members.measure_epoch(data.first(2), options.metrics, now.theta, now.theta[None, ..., 0])


def _initial_early_stopping(members: Members, data: TrainingData, now: Progress) -> EarlyStopping:
    """Return the initial state of early stopping.

    A copy or checkpoint made during training continues, if it monitors the loss on the same samples. Otherwise, and if
    an earlier training returned to its best epoch, the current parameters are the best so far, with their loss on the
    samples that are monitored now.
    """
    shape = now.settings.ensemble_shape
    if now.early_stopping is None and now.best is None:
        return EarlyStopping.initial(now.state, shape)
    monitored, samples = ("loss", data.measured) if data.held_out is None else ("validation_loss", data.held_out)
    with data.backend.on_device():
        loss = members.measure(data.backend, now.theta, samples, {})["loss"]
    host, loss = HOST.xp, HOST.asarray(data.backend.to_numpy(loss), "float64")
    epoch = host.full(shape, now.history.epochs - 1)
    if now.early_stopping is not None:
        # The training loss is an average over the steps of an epoch, and cannot be measured again.
        close = 1e-6 if now.settings.dtype == "float64" else 1e-3
        recorded = now.history.last().get(monitored, host.nan)
        known = monitored == "loss" or bool(host.all(host.isclose(loss, recorded, rtol=close, equal_nan=True)))
        if monitored == now.history.monitored and known:
            return now.early_stopping
    elif now.best is not None:
        epoch = now.best.epoch
    finite = host.isfinite(loss)
    return EarlyStopping.initial(
        now.state, shape, Best(host.where(finite, loss, host.inf), host.where(finite, epoch, -1))
    )


def _network_chunks(
    members: Members,
    run: Run,
    samples: Samples,
    rates: Array,
    *,
    compile: Any,
    announce: Callable[[], None],
    **options: Any,
) -> list[NetworkChunk]:
    """Return the networks ready to train, as `Members.network_chunks` does with the same options.

    With `compile`, their steps are compiled; if it is "auto", only if that saves time, and with a warning instead of an
    error if it is not possible.
    """
    backend, state, size, orders = run.backend, run.state, options["batch_size"], options["orders"]
    given = (backend, state, samples, rates)
    try:
        compiler = backend.compiler(announce) if compile else None
        steps, sizes = -(-(orders.shape[-1] if orders else samples.size) // size), members.settings.sizes
        if compile is True or (compiler and compiler.is_worthwhile(sizes, state, size, steps, run.epochs.stop)):
            return members.network_chunks(*given, **options, compiler=compiler)
    except CannotCompile as error:
        if compile is True:
            msg = f"compile=True: {error}"
            raise CannotCompile(msg) from None
        if not isinstance(error, NoCompiler):
            warnings.warn(f"training is not compiled: {error}", RuntimeWarning, stacklevel=4)
    return members.network_chunks(*given, **options)


def _cause(lowest: float, highest: float) -> str:
    rates = f"rate of {lowest:g} is" if lowest == highest else f"rates of {lowest:g} to {highest:g} are"
    return f"the learning {rates} too high, or the data should be scaled"
