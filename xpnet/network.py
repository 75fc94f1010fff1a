"""The document's class: a multilayer perceptron with its weights, its training and its record.

`NeuralNetwork` is a `Predictor` that learns: by the document's steps, taken one at a time by hand, or by training.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias

from xpnet import lbfgs, validation
from xpnet._types import Array
from xpnet.activations import Activation, relu, sigmoid
from xpnet.backends import HOST, Backend, new_seed
from xpnet.backends.base import State
from xpnet.callbacks import Callback
from xpnet.data import TrainingData, bring_samples, named_validation_data
from xpnet.early_stopping import BestSoFar
from xpnet.following import Follower, Plan
from xpnet.initializers import Initializer
from xpnet.losses import Loss, fuse, mean_loss
from xpnet.metrics import Metric, metrics_by_name
from xpnet.model import Model
from xpnet.optimizers import Optimizer
from xpnet.parameters import flatten
from xpnet.predictor import Predictor
from xpnet.propagation import backward, forward
from xpnet.schedules import Schedule
from xpnet.training import copy_state
from xpnet.transfer import bring, bring_state_like, place_of

Callbacks: TypeAlias = Callback | Callable[[Any], object] | Sequence[Callback | Callable[[Any], object]]


class NeuralNetwork(Predictor):
    """A multilayer perceptron, trained by gradient descent.

    Parameters
    ----------
    layer_list : sequence of int
        The sizes of the layers, inputs first: ``[1, 10, 10, 1]`` has one input, two hidden layers of ten, one output.
    activations : sequence of str or Activation, optional
        One for each layer after the inputs. By default relu for the hidden layers, and for the last one softmax with
        the categorical cross-entropy, else sigmoid; where answers are not between 0 and 1, end with ``"identity"``.
    loss : str or Loss
        What training makes small.
    optimizer : str or Optimizer
        How the parameters follow their gradient.
    initializer : str or callable
        How initial weights are drawn.
    initial_scale : float
        What the weights and biases that the initializer draws are multiplied with.
    weight_decay, l2, l1 : float
        How strongly the weights, not the biases, are drawn to zero: by a decay beside the optimizer (by default the
        optimizer's own, which is 0 but for adamw), or by penalties ½ λ ‖W‖² and λ ‖W‖₁ through it. The losses that are
        reported are without the penalties.
    clip_norm : float, optional
        The greatest length that the gradient keeps.
    dropout : float or sequence of float
        The fraction of the units of every hidden layer, or of each of them, that a training step leaves out.
    ensemble : int, optional
        How many networks to train side by side, E. Each has its own seed, and `initial_scale`, `weight_decay`, `l2`,
        `l1` and `clip_norm` may be arrays of shape (E,), one value for each. Whatever belongs to a network then has a
        leading axis: `theta` has the shape (E, P), ``parameters["W1"]`` (E, n_1, n_0), an answer (E, N, n_L).
    device : str or Backend, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"auto"``, or a `Backend`; data is brought there. Without it the network
        goes wherever the data is. Either way results come back in the library and on the device of the data.
    dtype : {"float64", "float32"}
        The precision of parameters and computation.
    seed : int or sequence of int, optional
        The same seed gives the same initial weights and the same order of samples on every device. Training is
        bit-identical only for the same backend, device and versions. An ensemble has the seeds from this one on, or
        those that are given, and each of its networks learns what one of that seed learns alone.

    Attributes
    ----------
    parameters : Parameters
        ``parameters["W1"]`` of shape (n_1, n_0), ``parameters["b1"]`` of shape (n_1, 1), and so on: views into `theta`.
        Assigning writes into it.
    theta : array of shape (P,), or (E, P)
        All parameters in one vector.
    cache : list of (Z, W, b, A_prev)
        What the last `deep_forward` passed through, layer by layer.
    history : History
        What was measured in every epoch since the weights were drawn: ``history["loss"]``, and ``history.plot()``.
    epoch_loss : list of float
        The loss of every epoch since the weights were drawn; for an ensemble a list of E numbers for each.
    ensemble : int or None
        How many networks there are side by side.
    backend : Backend
        Where the network is.
    seed : int or list of int
        The seed in use, also where none was given, or those of an ensemble.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnet import NeuralNetwork
    >>> X = np.linspace(-2, 2, 100)
    >>> network = NeuralNetwork([1, 10, 1], seed=0)
    >>> network.train(X, 0.5 * (np.sin(X) + 1), learning_rate=0.1, epochs=20, verbose=False)
    >>> network.predict(X).shape
    (100,)
    """

    def __init__(
        self,
        layer_list: Sequence[int] = (1, 3, 1),
        *,
        activations: Sequence[str | Activation] | None = None,
        loss: str | Loss = "half_squared_error",
        optimizer: str | Optimizer = "sgd",
        initializer: str | Initializer = "normal",
        initial_scale: Any = 1.0,
        weight_decay: Any = None,
        l2: Any = 0.0,
        l1: Any = 0.0,
        clip_norm: Any = None,
        dropout: float | Sequence[float] = 0.0,
        ensemble: int | None = None,
        device: str | Backend | None = None,
        dtype: Any = "float64",
        seed: int | Sequence[int] | None = None,
    ) -> None:
        model = Model(
            layer_list,
            activations=activations,
            loss=loss,
            optimizer=optimizer,
            initializer=initializer,
            initial_scale=initial_scale,
            weight_decay=weight_decay,
            l2=l2,
            l1=l1,
            clip_norm=clip_norm,
            dropout=dropout,
            ensemble=ensemble,
            dtype=dtype,
            seed=new_seed() if seed is None else seed,
        )
        super().__init__(model, device)
        self._stops = False

    # ---- The document's steps, one at a time

    def deep_forward(self, X: Array) -> Array:
        """Carry samples through the network, and keep in `cache` what `backward_pass` needs.

        Parameters
        ----------
        X : array of shape (..., n_0, m)
            The samples, one a column.

        Returns
        -------
        AL : array of shape (..., n_L, m)
            What the last layer answers, where X is.
        """
        data = self._transfer(X=X)
        with data.backend.on_device():
            X = data.to_network("X", X)
            fits = X.ndim >= 2 and X.shape[-2] == self._model.layer_list[0] and 0 not in X.shape
            if not fits or (self.ensemble and X.shape[:-2] not in ((), self._model.lead)):
                msg = (
                    f"X must have the shape ({self._model.layer_list[0]}, m), one sample a column, got {tuple(X.shape)}"
                )
                raise ValueError(msg)
            self._move(data.backend)
            AL, self.cache = forward(self.backend.xp, X, self._parameters.layers(), self._model.activations)
            return data.to_caller(AL)

    def cost_function(self, Y: Array, AL: Array) -> Array:
        """Return the loss averaged over the samples, of shape (..., 1, 1).

        Parameters
        ----------
        Y : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What the network answered.
        """
        data = self._transfer(AL=AL, Y=Y)
        with data.backend.on_device():
            AL, Y = data.answers_and_targets(AL, "Y", Y)
            cost, _ = mean_loss(data.backend.xp, self.loss, AL, Y)
            return data.to_caller(cost[..., None, None])

    def backward_pass(self, Y_target: Array, AL: Array) -> dict[str, Array]:
        """Carry the gradient of the loss back through the layers that the last `deep_forward` went through.

        Parameters
        ----------
        Y_target : array of the shape of AL, or a number
            The targets.
        AL : array of shape (..., n_L, m)
            What `deep_forward` returned.

        Returns
        -------
        grads : dict of arrays
            From the last layer to the first, for two layers ``dA1, dW2, db2, dA0, dW1, db1``, where AL is.
        """
        data = self._transfer(AL=AL, Y_target=Y_target)
        if not self.cache or data.backend != self.backend:
            msg = "backward_pass needs the cache of a forward pass: call deep_forward first"
            raise ValueError(msg)
        with data.backend.on_device():
            AL, Y = data.answers_and_targets(AL, "Y_target", Y_target)
            validation.same_shape("AL", AL, self.cache[-1][0].shape)
            xp = self.backend.xp
            activations, loss = fuse(self._model.activations, self.loss)
            if loss is not self.loss:
                AL = self.cache[-1][0]  # the last activation is part of the loss now, which is one of Z
            _, dAL = mean_loss(xp, loss, AL, Y)
            gradients = backward(xp, dAL, AL, self.cache, activations)
            return {
                name: data.to_caller(array)
                for l in reversed(range(len(gradients)))
                for name, array in zip((f"dA{l}", f"dW{l + 1}", f"db{l + 1}"), gradients[l], strict=True)
            }

    def update_parameters(self, grads: Mapping[str, Array], learning_rate: float) -> None:
        """Take one step down the gradient.

        Parameters
        ----------
        grads : mapping
            ``dW1, db1, …`` as from `backward_pass`; anything else in it is not looked at.
        learning_rate : float
            The length of the step, above zero.
        """
        self._refuse_in_training("update_parameters")
        learning_rate = validation.positive_number("learning_rate", learning_rate, self.dtype)
        if not isinstance(grads, Mapping):
            msg = f"grads must be a mapping such as backward_pass returns, got {type(grads).__name__}"
            raise TypeError(msg)
        names = [f"d{name}" for name in self._parameters]
        missing = [name for name in names if name not in grads]
        if missing:
            msg = f"grads lacks {', '.join(missing)}"
            raise ValueError(msg)
        data = self._transfer(**{name: grads[name] for name in names})
        with data.backend.on_device():
            xp, arrays = data.backend.xp, [data.to_network(name, grads[name]) for name in names]
            for name, array in zip(names, arrays, strict=True):
                validation.same_shape(name, array, self._parameters[name[1:]].shape)
                validation.finite_array(xp, name, array)
            self._move(data.backend)
            # On a copy, which a step that goes wrong may spoil.
            theta, memory = copy_state(xp, (self.theta, self._memory))
            optimizer = self._model.regularized_optimizer(data.backend)
            theta, memory = optimizer.update(xp, theta, flatten(xp, arrays), memory, learning_rate)
            validation.same_shape("theta of the optimizer's update", theta, self.theta.shape)
            validation.finite_array(xp, "what the update makes of theta", theta)
            self._state = theta, memory
            self._best_so_far = None

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + exp(−x)), which does not overflow."""
        return self._elementwise(sigmoid.forward, x)

    def sigmoid_derivative(self, Z: Array) -> Array:
        """σ(Z) (1 − σ(Z))."""
        return self._elementwise(lambda xp, Z: sigmoid.backward(xp, 1.0, Z, sigmoid.forward(xp, Z)), Z)

    def relu(self, x: Array) -> Array:
        """max(0, x)."""
        return self._elementwise(relu.forward, x)

    def _elementwise(self, function: Callable[..., Array], x: Any) -> Array:
        backend = place_of(x=x) or HOST
        with backend.on_device():
            return function(backend.xp, bring("x", x, backend, self.dtype))

    # ---- Training

    def train(
        self,
        X: Array,
        y: Array,
        learning_rate: Any,
        epochs: int = 10,
        verbose_epoch: int = 10,
        verbose: bool = True,
        *,
        batch_size: int | None = 1,
        shuffle: bool = False,
        sample_weight: Array | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        validation_split: float = 0.0,
        validation_data: Sequence[Array] | None = None,
        metrics: Sequence[str | Metric] | str | Metric = (),
        patience: int | None = None,
        tol: float = 0.0,
        schedule: Schedule | None = None,
        callbacks: Callbacks = (),
        progress_bar: bool | None = None,
        members_at_once: int | None = None,
    ) -> None:
        """Train the network, going on from where it is.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) where there is one input
            The samples, one a row. For an ensemble also (E, N, n_0): a set for each of its networks.
        y : array of shape (N, n_L), (N, n_L, 1), or (N,)
            The targets; for an ensemble also (E, N, n_L). Where there are several outputs, an array of shape (N,), or
            (E, N, 1), holds labels, whole numbers from 0 to n_L − 1: the output of that number should be 1, and the
            others 0.
        learning_rate : float, or for an ensemble an array of shape (E,)
            The length of a step, above zero.
        epochs : int
            How many times to go through the samples.
        verbose_epoch : int
            Every how many epochs to report the loss.
        verbose : bool
            Whether to report at all.
        batch_size : int or None
            How many samples a step learns from: 1, the document's way; more, where the last step of an epoch takes
            what is left; or None for all.
        shuffle : bool
            Whether every epoch takes the samples in a new order.
        sample_weight : array of shape (N,), or for an ensemble (E, N), optional
            How much every sample counts beside the others: they are divided by their mean.
        class_weight : mapping of label to weight, or "balanced", optional
            How much the samples of a class count in training, beside `sample_weight`; 1 for a class that is not named.
            ``"balanced"`` makes all classes count alike. With one output the labels are 0 and 1. It does not count in
            metrics and in validation.
        validation_split : float
            The fraction of the samples, drawn at random but the same for every seed, that is kept from training to
            measure the loss on.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Other samples to measure the loss on after every epoch.
        metrics : sequence of str or callable
            What else to measure after every epoch, on the samples and on those for validation: ``"accuracy"``,
            ``"r2_score"``, ``"mean_absolute_error"``, or functions as in `xpnet.metrics`.
        patience : int, optional
            Stop early, when the loss (for validation, where there is one) has not improved for so many epochs. Whenever
            the training ends, the network then goes back to its best epoch: see `best_epoch`. Each network of an
            ensemble goes back to its own; they train on until none is waited for.
        tol : float
            By how much the loss has to be less than the best one to be an improvement.
        schedule : callable, optional
            How the learning rate goes on from its value: one of `xpnet.schedules`, or a user's own. It counts epochs
            since the weights were drawn, not since this call.
        callbacks : callable or Callback, or a sequence of them
            Functions are called with the network after every epoch; an `xpnet.Callback` also at the beginning and at
            the end. They may predict, copy the network, call its `stop_training`, or raise, but not change it. Reading
            `history` waits for the device.
        progress_bar : bool, optional
            Whether to show a progress bar (with tqdm); by default where reports go to a terminal.
        members_at_once : int, optional
            How many networks of an ensemble take their steps together; by default as many as fit into the working
            memory of the backend.

        Raises
        ------
        TypeError, ValueError
            If an argument is not what it should be; the network is then unchanged.
        FloatingPointError
            If the loss or a parameter became NaN or infinite; the network is then as it was after the last good epoch.
            A network of an ensemble only stops learning then, its further losses are NaN, and the others go on.
        KeyboardInterrupt
            On Ctrl-C; the network is then as it was after the last complete epoch.
        """
        self._refuse_in_training("train")
        model = self._model
        rate = model.setting("learning_rate", learning_rate, validation.positive_number)
        each_rate = rate if isinstance(rate, tuple) else (rate,) * (self.ensemble or 1)
        plan = Plan.of(epochs, verbose_epoch, verbose, progress_bar, patience, tol, callbacks)
        size = None if batch_size is None else validation.positive_integer("batch_size", batch_size)
        at_once = None if members_at_once is None else validation.positive_integer("members_at_once", members_at_once)
        if not (schedule is None or callable(schedule)):
            msg = f"schedule must be callable or None, got {schedule!r}"
            raise TypeError(msg)
        data = self._training_data(X, y, sample_weight, class_weight, validation_split, validation_data, metrics)
        backend, samples = data.backend, data.samples
        size = min(size or samples.size, samples.size)
        factors = None
        if schedule:
            factors = partial(model.factors, schedule, self._history, -(-samples.size // size))
            for epoch in (self.epochs_trained, self.epochs_trained + plan.epochs - 1):
                factors(epoch)
        with backend.on_device():
            rates = backend.asarray([[each] for each in each_rate] if self.ensemble else rate, self.dtype)
            model.rehearse(backend, self._state_on(backend), samples, rates)

        def run(take: Callable[[State, Array], bool]) -> None:
            trained = model.train(
                backend,
                self._state,
                samples,
                rates,
                first=self.epochs_trained,
                epochs=plan.epochs,
                batch_size=size,
                shuffle=bool(shuffle),
                factors=factors,
                at_once=at_once,
            )
            for state, loss in trained:
                if not take(state, loss):
                    break

        least, greatest = min(each_rate), max(each_rate)
        rates_are = f"rate of {least:g} is" if least == greatest else f"rates of {least:g} to {greatest:g} are"
        self._follow(plan, data, run, cause=f"the learning {rates_are} too high, or the data should be scaled")

    def train_lbfgs(
        self,
        X: Array,
        y: Array,
        epochs: int = 200,
        verbose_epoch: int = 10,
        verbose: bool = True,
        *,
        gradient_tol: float = 1e-5,
        sample_weight: Array | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        validation_split: float = 0.0,
        validation_data: Sequence[Array] | None = None,
        metrics: Sequence[str | Metric] | str | Metric = (),
        patience: int | None = None,
        tol: float = 0.0,
        callbacks: Callbacks = (),
        progress_bar: bool | None = None,
    ) -> None:
        """Train the network on a small set by L-BFGS, all samples at once, with SciPy.

        There is no learning rate to choose, and no batch; the network's optimizer is not used, and starts anew the next
        time. It takes `l2`, but no ensembles, dropout, `weight_decay`, `l1` or `clip_norm`, which it has no step for.

        Parameters
        ----------
        epochs : int
            How many iterations at most, of which each looks at all samples once or a few times.
        gradient_tol : float
            Ends when no entry of the gradient is greater.
        X, y, and all others
            As for `train`. The loss of an epoch is that after it.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        TypeError, ValueError, FloatingPointError, KeyboardInterrupt
            As `train`.
        """
        self._refuse_in_training("train_lbfgs")
        model = self._model
        lbfgs.scipy_optimize()
        settings = {"ensemble": self.ensemble, "dropout": any(self.dropout), **self.regularization, "l2": 0.0}
        refused = [name for name, value in settings.items() if value]
        if refused:
            of = " (adamw brings one; weight_decay=0 takes it away)" if self.optimizer.weight_decay else ""
            msg = f"train_lbfgs cannot be used with {', '.join(refused)}{of}"
            raise ValueError(msg)
        plan = Plan.of(epochs, verbose_epoch, verbose, progress_bar, patience, tol, callbacks)
        gradient_tol = validation.number_from_zero("gradient_tol", gradient_tol, "float64")
        data = self._training_data(X, y, sample_weight, class_weight, validation_split, validation_data, metrics)
        backend = data.backend

        def run(take: Callable[[State, Array], bool]) -> None:
            memory = self._new_memory()

            def after_iteration(theta: Array) -> bool:
                with backend.on_device():
                    loss = model.measure(backend, theta, data.samples, {})["loss"]
                    finite = bool(backend.xp.isfinite(loss))
                # What is not finite ends the training, and leaves the network as it is.
                return take((theta, memory) if finite else self._state, loss) and finite

            lbfgs.minimize(
                backend,
                model.objective(backend, data.samples),
                self.theta,
                iterations=plan.epochs,
                gradient_tol=gradient_tol,
                after_iteration=after_iteration,
            )

        self._follow(plan, data, run, cause="the data should be scaled")

    def stop_training(self) -> None:
        """End the training after this epoch; for callbacks."""
        if not self._trains:
            msg = "stop_training is for callbacks: the network does not train"
            raise RuntimeError(msg)
        self._stops = True

    def _training_data(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        validation_split: Any = 0.0,
        validation_data: Any = None,
        metrics: Any = (),
    ) -> TrainingData:
        """Bring what to learn from, and what to measure the loss on besides."""
        given, others = {"X": X, "y": y, "sample_weight": sample_weight}, named_validation_data(validation_data)
        split = validation.fraction("validation_split", validation_split)
        if split and others:
            msg = "give validation_split or validation_data, not both"
            raise ValueError(msg)
        measures, model = metrics_by_name(metrics), self._model
        data = self._transfer(**given, **others)
        with data.backend.on_device():
            settings = (model.layer_list, model.bounds, model.ensemble)
            samples = bring_samples(data, given, *settings)
            held_out = bring_samples(data, others, *settings) if others else None
            if split:
                samples, held_out = samples.split(data.backend, split)
            learned = samples
            if class_weight is not None:
                learned = samples.weighted_by_class(data.backend, class_weight, self.dtype)
        return TrainingData(data.backend, learned, samples, held_out, measures)

    def _follow(
        self, plan: Plan, data: TrainingData, run: Callable[[Callable[[State, Array], bool]], None], *, cause: str
    ) -> None:
        """Run a training and follow it: the one way in which weights change epoch by epoch.

        Parameters
        ----------
        plan : Plan
            How to follow it.
        data : TrainingData
            What it learns from, and what it is measured on.
        run : callable
            ``run(take)`` trains, and calls ``take(state, loss) -> goes_on`` after every epoch with a state to keep.
        cause : str
            What most likely is the matter should the loss turn into NaN.
        """
        backend, state = data.backend, self._state_on(data.backend)
        few = data._replace(measured=data.measured.first(2), held_out=data.held_out and data.held_out.first(2))
        self._model.figures(few, state[0], state[0][..., 0])  # a rehearsal: it fails while nothing has changed
        best = (self._best_so_far or BestSoFar(state, self._model.lead)) if plan.patience else None
        follower = Follower(self, backend, self._history, plan, best=best, cause=cause)

        def take(state: State, loss: Array) -> bool:
            figures = self._model.figures(data, state[0], loss)
            self._state = state
            with self._unchanged():
                goes_on = follower.epoch(state, figures)
            return goes_on and not self._stops

        with ExitStack() as ends, self._under_way(backend, follower, best):
            with self._unchanged():
                for callback in plan.callbacks:
                    callback.on_train_begin(self)
                    ends.callback(callback.on_train_end, self)
            if best is None or best.waits:  # a training that was cut off in its last epoch has nothing left to do
                run(take)
            follower.look()
            follower.tell_best()

    @contextmanager
    def _under_way(self, backend: Backend, follower: Follower, best: BestSoFar | None) -> Iterator[None]:
        """Be a network that trains, and however that ends, one that is as it should be afterwards."""
        try:
            self._best_so_far, self._trains, self._stops = best, True, False
            self._move(backend)
            yield
        except KeyboardInterrupt:
            raise follower.interrupted() from None
        finally:
            try:
                follower.cut_bad_epochs()
                follower.judge(self._state)  # an epoch that was interrupted after it was recorded
                if best is not None and bool(HOST.xp.any(best.epoch >= 0)):
                    self._state = best.state_or(self.backend, self._state)
                    self._best = HOST.asarray(best.loss), HOST.asarray(best.epoch)
            finally:
                self._best_so_far, self._trains = None, False
                follower.close()

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Call back, and see to it that nobody has assigned a parameter."""
        theta = self.theta
        try:
            yield
        finally:
            changed, self._parameters.theta = self.theta is not theta, theta
        if changed:
            self._refuse_in_training("assigning parameters")

    # ---- The networks of an ensemble

    def member(self, i: int) -> NeuralNetwork:
        """Return one network of an ensemble, as a network of its own with its seed, its settings and its record.

        Parameters
        ----------
        i : int
            Its number from 0, or counted back from −1.

        Raises
        ------
        IndexError
            If there is none of that number.
        ValueError
            If the network is no ensemble.
        """
        if self.ensemble is None:
            msg = "a network that is no ensemble has no members"
            raise ValueError(msg)
        at = operator.index(i)
        if not -self.ensemble <= at < self.ensemble:
            msg = f"there is no member {i} of {self.ensemble}"
            raise IndexError(msg)
        at %= self.ensemble
        network = NeuralNetwork(**self._model.member(at), device=self.backend)
        network._goes_to_data = self._goes_to_data
        with self.backend.on_device():
            own = self.theta[at, ...], tuple(array[at, ...] for array in self._memory)
        network._state = bring_state_like(network._state, own, self.backend)
        network._history = self._history.member(at)
        network._weights_streams = copy.deepcopy(self._weights_streams[at : at + 1])
        if self._best and self._best[1][at] >= 0:
            network._best = tuple(HOST.asarray(values[at]) for values in self._best)
        return network

    def best(self) -> NeuralNetwork:
        """Return the network of an ensemble whose loss is least, as a network of its own: see `best_index`."""
        return self.member(self.best_index())
