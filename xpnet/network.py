"""The document's class: a multilayer perceptron with its weights, its training and its record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from reprlib import repr
from typing import Any, TypeAlias

from xpnet import plotting, summary
from xpnet._checks import is_integer
from xpnet._types import Array
from xpnet.activations import Activation
from xpnet.backends import HOST, Backend, get_backend
from xpnet.by_hand import StepByStep
from xpnet.callbacks import Callback
from xpnet.core.parameters import Layout, Parameters
from xpnet.core.settings import Settings, layer_sizes
from xpnet.initializers import Initializer
from xpnet.losses import Loss
from xpnet.metrics import Metric, metrics_by_name
from xpnet.optimizers import Optimizer
from xpnet.schedules import Schedule
from xpnet.summary import Summary
from xpnet.training import loop
from xpnet.training.history import History
from xpnet.training.options import TrainingOptions
from xpnet.training.progress import Progress, new_optimizer_state
from xpnet.training.run import Run

Callbacks: TypeAlias = Callback | Callable[[Any], object] | Sequence[Callback | Callable[[Any], object]]


def _shown(parts: Any) -> str:
    """Return a part, or those of all layers, as `repr` of a network shows them, by their names."""
    return f"{[summary.name_of(part) for part in parts] if isinstance(parts, list) else summary.name_of(parts)!r}"


class NeuralNetwork(StepByStep):
    """A multilayer perceptron, trained by gradient descent.

    Parameters
    ----------
    layer_list : sequence of int
        The sizes of the layers, inputs first: ``[1, 10, 10, 1]`` has one input, two hidden layers of ten, one output.
    activations : sequence of str or Activation, optional
        One for each layer after the inputs. By default relu for the hidden layers, and for the last one softmax with
        the categorical cross-entropy, else sigmoid; where outputs are not between 0 and 1, end with ``"identity"``.
    loss : str or Loss
        The loss that training minimises.
    optimizer : str or Optimizer
        How the parameters follow their gradient.
    initializer : str or callable, or a sequence of them, optional
        How the initial weights of all layers, or of each layer after the inputs, are drawn. By default ``"normal"`` for
        the document's network, which is one of relu, a last sigmoid, and half the squared error; else ``"he_normal"``
        for a layer of relu or its kin (leaky_relu, elu, gelu, silu, softplus), and ``"glorot_uniform"`` for others.
    initial_scale : float
        The factor on the weights and biases that the initializer draws.
    weight_decay, l2, l1 : float
        How strongly the weights, not the biases, are shrunk: by a decoupled decay (by default the optimizer's own,
        which is 0 but for adamw), or by penalties ½ λ ‖W‖² and λ ‖W‖₁. Reported losses are without the penalties.
    clip_norm : float, optional
        The maximum norm of the gradient.
    dropout : float or sequence of float
        The fraction of the units of every hidden layer, or of each of them, that a training step leaves out.
    ensemble : int, optional
        How many networks to train side by side, E. Each has its own seed, and `initial_scale`, `weight_decay`, `l2`,
        `l1` and `clip_norm` may be arrays of shape (E,), one value for each. Whatever belongs to a network then has a
        leading axis: `theta` has the shape (E, P), ``parameters["W1"]`` (E, n_1, n_0), a prediction (E, N, n_L).
    device : str or Backend, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"auto"``, or a `Backend`; data is brought there. Without it the network
        follows the data's device. Either way results come back in the library and on the device of the data.
    dtype : {"float64", "float32"}
        The precision of parameters and computation.
    seed : int or sequence of int, optional
        The same seed gives the same initial weights and the same order of samples on every device. Training is
        bit-identical only for the same backend, device, versions and number of threads. An ensemble has the seeds from
        this one on, or those that are given, and each of its networks learns what one of that seed learns alone.

    Attributes
    ----------
    parameters : Parameters
        ``parameters["W1"]`` of shape (n_1, n_0), ``parameters["b1"]`` of shape (n_1, 1), and so on: views into `theta`.
        Assigning puts the value into a new vector.
    theta : array of shape (P,), or (E, P)
        All parameters in one vector.
    cache : list of (Z, W, b, A_prev)
        What the last `deep_forward` passed through, layer by layer.
    history : History
        What was measured in every epoch since the weights were drawn: ``history["loss"]``, and ``history.plot()``.
    epoch_loss : list of float
        The loss of every epoch since the weights were drawn; for an ensemble a list of E numbers for each.
    backend : Backend
        Where the network is.
    layer_list, activations, loss, …
        Each setting by its name, to read; `seed` is known also where none was given.

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

    _snapshot: Progress
    _run: Run | None = None  # the training that is going on

    def __init__(
        self,
        layer_list: Sequence[int] = (1, 3, 1),
        *,
        activations: Sequence[str | Activation] | None = None,
        loss: str | Loss = "half_squared_error",
        optimizer: str | Optimizer = "sgd",
        initializer: str | Initializer | Sequence[str | Initializer] | None = None,
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
        settings = Settings.of(
            layer_list=layer_list,
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
            seed=seed,
        )
        progress = Progress.start(settings, HOST if device is None else get_backend(device))
        super().__init__(progress, follows_data=device is None)

    # ---- What it is

    def __repr__(self) -> str:
        settings = self.settings
        if all(each == settings["initializer"][0] for each in settings["initializer"]):
            settings["initializer"] = settings["initializer"][0]
        shown = {name: _shown(settings[name]) for name in ("activations", "loss", "optimizer", "initializer")}
        shown |= {name: repr(settings[name]) for name in ("ensemble", "seed") if settings[name] is not None}
        given = ", ".join(f"{name}={value}" for name, value in shown.items())
        return (
            f"{type(self).__name__}({self.layer_list}, {given}, device={self.backend.device!r}, dtype={self.dtype!r})"
            f"  # {self._settings.layout.size:,} parameters, {self.epochs_trained:,} epochs trained"
        )

    def summary(self) -> Summary:
        """Return a table of the layers, with the number of parameters, the loss, the optimizer and the device.

        In a notebook and at a prompt it shows itself, elsewhere ``print(network.summary())`` does.
        """
        return summary.of_network(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    # ---- Training

    def train(
        self,
        X: Array,
        y: Array,
        learning_rate: Any,
        epochs: int = 10,
        verbose_epoch: int | None = None,
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
        verbose_epoch : int, optional
            Every how many epochs to report the loss; by default some ten times in all. The last one is always reported.
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
            The fraction of the samples, and where targets are classes of each class, that is kept from training to
            measure the loss on. They are drawn at random, but are the same for every seed.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Other samples to measure the loss on after every epoch.
        metrics : sequence of str, callable or Metric
            What else to measure after every epoch, on the samples and on those for validation: ``"accuracy"``,
            ``"binary_accuracy"``, ``"categorical_accuracy"``, ``"subset_accuracy"``, ``"r2_score"``,
            ``"mean_absolute_error"``, or custom ones as in `xpnet.metrics`.
        patience : int, optional
            Stop early, when the loss (for validation, where there is one) has not improved for so many epochs. Whenever
            the training ends, the network then goes back to its best epoch: see `best_epoch`. Each network of an
            ensemble goes back to its own; they train on until none is waited for.
        tol : float
            By how much the loss has to be less than the best one to be an improvement.
        schedule : callable, optional
            How the learning rate goes on from its value: one of `xpnet.schedules`, or a custom one. It counts epochs
            since the weights were drawn, not since this call. It is asked for the epochs to come before the first one.
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
            If an argument is not what it should be; the network is then unchanged. Custom parts are tried before the
            first epoch, too; one that fails only later leaves the network as it was after the last complete epoch.
        FloatingPointError
            If the loss or a parameter became NaN or infinite; the network is then as it was after the last good epoch.
            A network of an ensemble only stops learning then, its further losses are NaN, and the others go on.
        KeyboardInterrupt
            On Ctrl-C; the network is then as it was after the last complete epoch.
        """
        self._refuse_while_training("train")
        options = TrainingOptions(
            X=X,
            y=y,
            epochs=epochs,
            verbose_epoch=verbose_epoch,
            verbose=verbose,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_split=validation_split,
            validation_data=validation_data,
            metrics=metrics_by_name(metrics, self._settings),
            patience=patience,
            tol=tol,
            callbacks=callbacks,
            progress_bar=progress_bar,
        )
        loop.train(
            self,
            options,
            learning_rate=learning_rate,
            batch_size=batch_size,
            shuffle=shuffle,
            schedule=schedule,
            members_at_once=members_at_once,
        )

    def train_lbfgs(
        self,
        X: Array,
        y: Array,
        epochs: int = 200,
        verbose_epoch: int | None = None,
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
        time. What L-BFGS has learned of the curvature is not kept: a second call, or one after loading a checkpoint,
        begins without, and takes other steps than one long call would. It takes `l2`, but no ensembles, dropout,
        `weight_decay`, `l1` or `clip_norm`, which it has no step for.

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
        self._refuse_while_training("train_lbfgs")
        options = TrainingOptions(
            X=X,
            y=y,
            epochs=epochs,
            verbose_epoch=verbose_epoch,
            verbose=verbose,
            sample_weight=sample_weight,
            class_weight=class_weight,
            validation_split=validation_split,
            validation_data=validation_data,
            metrics=metrics_by_name(metrics, self._settings),
            patience=patience,
            tol=tol,
            callbacks=callbacks,
            progress_bar=progress_bar,
        )
        loop.train_by_lbfgs(self, options, gradient_tol=gradient_tol)

    def stop_training(self) -> None:
        """End the training after this epoch; for callbacks."""
        run = self._run
        if run is None:
            msg = "stop_training is for callbacks: the network does not train"
            raise RuntimeError(msg)
        run.stop_requested = True

    def _is_training(self) -> bool:
        run = self._run
        if run is not None and run.is_abandoned():
            run.end()  # several Ctrl-C in a row have left it without an end
        return self._run is not None

    def _refuse_while_training(self, what: str) -> None:
        if self._is_training():
            here = "a callback may look, copy or raise, but not change it"
            run = self._run
            reason = f": {here}" if run is None or run.thread == threading.get_ident() else " in another thread"
            msg = f"{what} is refused while the network trains{reason}"
            raise RuntimeError(msg)

    def __getstate__(self) -> dict[str, Any]:
        # A copy that a callback takes in the middle of a training is a network that does not train.
        return {name: value for name, value in super().__getstate__().items() if name != "_run"}

    # ---- Its record

    @property
    def history(self) -> History:
        """What was measured in every epoch since the weights were drawn; reading it waits for the device."""
        history = self._snapshot.history
        # In a training, epochs may be there of which nobody has seen yet that they are not finite.
        return history.settled() if self._is_training() else history

    @property
    def epochs_trained(self) -> int:
        """How many epochs the network was trained for since its weights were drawn."""
        return self._snapshot.history.epochs

    @property
    def epoch_loss(self) -> list[Any]:
        """The loss of every epoch since the weights were drawn; reading it waits for the device."""
        return self.history["loss"].tolist()  # type: ignore[no-any-return]

    def plot_epoch(self) -> None:
        """Show the loss over the epochs; needs matplotlib."""
        plotting.show_epoch_loss(self.history["loss"])

    @property
    def best_loss(self) -> Any:
        """The loss that early stopping has gone back to, a float, or of an ensemble an array (E,); None without it."""
        best = self._snapshot.best
        return best and (HOST.xp.asarray(best.loss, copy=True) if self.ensemble else float(best.loss))

    @property
    def best_epoch(self) -> Any:
        """The epoch, from 0, that early stopping has gone back to, an int, or of an ensemble an array (E,), or None."""
        best = self._snapshot.best
        return best and (HOST.xp.asarray(best.epoch, copy=True) if self.ensemble else int(best.epoch))

    # ---- Its parameters, all at once

    def initialize_weights_deep(self, layer_list: Sequence[int]) -> dict[str, Array]:
        """Draw parameters for these layer sizes, with the next numbers of the network's seed."""
        layout = Layout(layer_sizes(layer_list))
        with self._lock:
            self._refuse_while_training("initialize_weights_deep")
            snapshot = self._snapshot
            theta = self._members.draw(snapshot.draws, snapshot.backend, layout)
            self._snapshot = snapshot.replaced(draws=snapshot.draws + 1)
        return {name: layout.view(snapshot.backend.xp, theta, name) for name in layout.slots}

    def clear_weights(self) -> None:
        """Draw new parameters, with the next numbers of the network's seed, and forget all training."""
        with self._lock:
            self._refuse_while_training("clear_weights")
            snapshot = self._snapshot
            new = Progress.start(snapshot.settings, snapshot.backend, snapshot.draws)
            self._clear_cache()
            self._snapshot = new

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`; assigning all of them makes the optimizer start anew."""
        return super().parameters

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        names = self.parameters.keys()
        if not isinstance(values, Mapping) or values.keys() != names:
            came = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
            msg = f"parameters must be a mapping of {', '.join(names)}, got {came}"
            raise ValueError(msg)
        with self._lock:
            self._refuse_while_training("assigning parameters")
            theta, snapshot = self.parameters.replaced(values), self._snapshot
            optimizer_state = new_optimizer_state(snapshot.settings, snapshot.backend, theta)
            self._snapshot = snapshot.with_parameters(theta, optimizer_state)

    def clear_history(self) -> None:
        """Forget what was measured so far, and keep all else, the number of epochs included: training goes on alike.

        (A schedule that judges by the losses, such as reduce on plateau, judges anew. In the middle of a training with
        `patience`, which may go on, the last epoch is kept, for it is what that goes on from.)
        """
        with self._lock:
            self._refuse_while_training("clear_history")
            snapshot = self._snapshot
            self._snapshot = snapshot.replaced(
                history=snapshot.history.cleared(last=snapshot.early_stopping is not None)
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what training has made of the network, on the host.

        Returns
        -------
        state : dict
            ``theta``, an array; ``optimizer``, its kind, and ``optimizer_state``, a list of arrays; ``history``, arrays
            by name; ``first_epoch``, the number of the first epoch in them; ``last_measured``, what was measured in the
            last one; ``seed``, and ``draws``, how often weights were drawn from it; ``form``, how many axes targets had
            in training, and the type of labels, or None; ``best``, the ``loss`` and the ``epoch`` that early stopping
            went back to, or None; and in the middle of a training that may stop early
            ``early_stopping``, what it would go back to, else None.
        """
        return self._snapshot.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another network of the same layers and optimizer was, with its seed.

        Parameters
        ----------
        state : mapping
            From the other's `state_dict`; the network keeps copies.

        Raises
        ------
        ValueError
            If the state is of other layers, of another optimizer, or of another number of networks; the network is then
            unchanged.
        RuntimeError
            If a callback calls it while the network trains.
        """
        with self._lock:
            self._refuse_while_training("load_state_dict")
            loaded = Progress.of(self._snapshot.settings, self._snapshot.backend, state)
            self._clear_cache()
            self._snapshot = loaded

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
        if not is_integer(i):
            msg = f"i must be the number of a member, an integer, got {repr(i)}"
            raise TypeError(msg)
        at = int(i)
        if not -self.ensemble <= at < self.ensemble:
            msg = f"there is no member {i} of {self.ensemble}"
            raise IndexError(msg)
        return NeuralNetwork._of(self._snapshot.member(at % self.ensemble), follows_data=self._follows_data)

    @staticmethod
    def _of(progress: Progress, *, follows_data: bool) -> NeuralNetwork:
        """Return a network at some progress, without drawing any parameters."""
        network = NeuralNetwork.__new__(NeuralNetwork)
        StepByStep.__init__(network, progress, follows_data=follows_data)
        return network

    def best_member_index(self) -> int:
        """Return the number of the network of an ensemble whose loss is least.

        It is the validation loss where the last epoch had it, else that of training; and where early stopping has gone
        back to the best epoch of each, that of those epochs.

        Raises
        ------
        ValueError
            If the network is no ensemble, was not trained, or all of its networks have diverged.
        """
        if self.ensemble is None:
            msg = "a network that is no ensemble has no best member"
            raise ValueError(msg)
        best, history = self._snapshot.best, self._snapshot.history
        if not (best or history.last_names):
            msg = "the best member is that of an ensemble that was trained, and whose losses are recorded"
            raise ValueError(msg)
        losses = best.loss if best else history.last()[history.monitored]
        finite = HOST.xp.isfinite(losses)
        if not bool(HOST.xp.any(finite)):
            msg = "no network of the ensemble has a finite loss"
            raise ValueError(msg)
        return int(HOST.xp.argmin(HOST.xp.where(finite, losses, HOST.xp.inf)))

    def best_member(self) -> NeuralNetwork:
        """Return the network of an ensemble whose loss is least, as a network of its own: see `best_member_index`."""
        return self.member(self.best_member_index())
