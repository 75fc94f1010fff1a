"""`NeuralNetwork`: a multilayer perceptron with its parameters, its training and its history.

The class extends the one of the notebook *Neural Network From Scratch*, called "the document" here (see README).
"""

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
    """Return the name of a part, or the names of a list of parts, for the `repr` of a network."""
    return f"{[summary.name_of(part) for part in parts] if isinstance(parts, list) else summary.name_of(parts)!r}"


class NeuralNetwork(StepByStep):
    """A multilayer perceptron, trained by gradient descent.

    Parameters
    ----------
    layer_list : sequence of int, or sequence of sequences
        The sizes of the layers, inputs first: ``[1, 10, 10, 1]`` has one input, two hidden layers of ten, one output.
        A list of such lists is an ensemble whose networks have hidden layers of different sizes. The arrays then have
        the largest sizes; parameters of units that a network does not have are 0.
    activations : sequence of str or Activation, optional
        The activation of each layer after the inputs. By default relu for hidden layers, and for the output layer
        softmax with the categorical cross-entropy, exp with the Poisson loss, else sigmoid. Use ``"identity"`` for
        outputs outside [0, 1].
    loss : str or Loss
        The loss that training minimizes.
    optimizer : str or Optimizer
        The rule that updates the parameters.
    initializer : str or callable, or a sequence of them, optional
        The weight initialization of all layers, or of each layer after the inputs. By default ``"normal"`` for the
        document's network (relu, sigmoid outputs, and half the squared error); else ``"he_normal"`` for a layer of the
        relu family (relu, leaky_relu, elu, gelu, silu, softplus), and ``"glorot_uniform"`` for other layers.
    initial_scale : float
        The factor on the weights and biases that the initializer draws.
    weight_decay, l2, l1 : float
        The strengths of the regularization of the weights; biases are not regularized. `weight_decay` is decoupled (by
        default that of the optimizer, which is 0 except for adamw); `l2` and `l1` are the penalties ½ λ ‖W‖² and
        λ ‖W‖₁. Reported losses do not include these penalties.
    alpha : float, optional
        The penalty of scikit-learn's networks, in place of `l2`. The loss of a batch is then a total with a penalty,
        (Σⱼ wⱼ Lⱼ + ½ α ‖W‖²) / Σⱼ wⱼ: sample weights count within their batch, and the penalty is stronger in smaller
        batches. The reported training loss includes it.
    clip_norm : float, optional
        The maximum gradient norm.
    dropout : float or sequence of float
        The fraction of the units that a training step drops, for all hidden layers or for each of them.
    ensemble : int, optional
        The number E of networks of an ensemble, trained in parallel. Each has its own seed, and `initial_scale`,
        `weight_decay`, `l2`, `l1`, `alpha` and `clip_norm` may be arrays of shape (E,), one value for each network.
        All arrays of the network then have a leading axis: `theta` has the shape (E, P), ``parameters["W1"]``
        (E, n_1, n_0), predictions (E, N, n_L).
    device : str or Backend, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"auto"``, or the backend of another library, such as
        ``get_backend("cuda", name="torch")``; data is transferred there. By default the network follows the data's
        library and device. Results are always in the library and on the device of the data.
    dtype : {"float64", "float32"}
        The precision of parameters and computation.
    seed : int or sequence of int, optional
        The same seed gives the same initial weights and the same order of samples on every device. Training is
        bit-identical only for the same backend, device, versions and number of threads. The networks of an ensemble
        have the seeds seed, seed + 1, …, or the given ones; each trains like a single network with its seed.

    Attributes
    ----------
    parameters : Parameters
        ``parameters["W1"]`` of shape (n_1, n_0), ``parameters["b1"]`` of shape (n_1, 1), and so on: views into `theta`.
        Assignment replaces `theta` by a copy with the new value.
    theta : array of shape (P,), or (E, P)
        All parameters in one vector.
    cache : list of (Z, W, b, A_prev)
        The values that the last `deep_forward` stored, for each layer.
    history : History
        The losses and metrics of every epoch since the weights were initialized: ``history["loss"]``,
        ``history.plot()``.
    epoch_loss : list of float
        The loss of every epoch since the weights were initialized; for an ensemble each is a list of E numbers.
    backend : Backend
        The backend, and with it the device, of the network.
    layer_list, activations, loss, …
        Every setting by its name, read-only. `seed` is the seed in use even if none was given.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or two contradict each other.
    DeviceUnavailable
        If the device is not available.

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
    _run: Run | None = None  # the current training

    def __init__(
        self,
        layer_list: Sequence[int] | Sequence[Sequence[int]] = (1, 3, 1),
        *,
        activations: Sequence[str | Activation] | None = None,
        loss: str | Loss = "half_squared_error",
        optimizer: str | Optimizer = "sgd",
        initializer: str | Initializer | Sequence[str | Initializer] | None = None,
        initial_scale: Any = 1.0,
        weight_decay: Any = None,
        l2: Any = 0.0,
        l1: Any = 0.0,
        alpha: Any = None,
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
            alpha=alpha,
            clip_norm=clip_norm,
            dropout=dropout,
            ensemble=ensemble,
            dtype=dtype,
            seed=seed,
        )
        progress = Progress.initial(settings, HOST if device is None else get_backend(device))
        super().__init__(progress, follows_data=device is None)

    # ---- Representation

    def __repr__(self) -> str:
        settings = self.settings
        if all(each == settings["initializer"][0] for each in settings["initializer"]):
            settings["initializer"] = settings["initializer"][0]
        shown = {name: _shown(settings[name]) for name in ("activations", "loss", "optimizer", "initializer")}
        shown |= {name: repr(settings[name]) for name in ("ensemble", "seed") if settings[name] is not None}
        given = ", ".join(f"{name}={value}" for name, value in shown.items())
        return (
            f"{type(self).__name__}({self.layer_list}, {given}, device={self.backend.device!r}, dtype={self.dtype!r})"
            f"  # {summary.parameters_of(self)} parameters, {self.epochs_trained:,} epochs trained"
        )

    def summary(self) -> Summary:
        """Return a table of the layers, with the number of parameters, the loss, the optimizer and the device.

        Returns
        -------
        summary : Summary
            ``print(summary)`` shows the table; a notebook displays it as HTML.

        Examples
        --------
        >>> from xpnet import NeuralNetwork
        >>> print(NeuralNetwork([2, 4, 1], seed=0).summary())
        NeuralNetwork
        layer  outputs  activation  initializer  dropout  parameters
        1            4  relu        normal                        12
        2            1  sigmoid     normal                         5
        <BLANKLINE>
        inputs          2
        parameters      17 in float64
        loss            half_squared_error
        optimizer       sgd
        device          cpu (numpy)
        epochs trained  0
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
        orders: Callable[[int], Array] | None = None,
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
        compile: bool | str = "auto",
    ) -> None:
        """Train the network by gradient descent, from its current parameters.

        Reports count epochs from 0, like the document: ``Epoch 0`` is the first one.

        Parameters
        ----------
        X : array of shape (N, n_0), (N, n_0, 1), or (N,) for one input
            The samples, one per row. For an ensemble also (E, N, n_0): other samples for each network.
        y : array of shape (N, n_L), (N, n_L, 1), or (N,)
            The targets; for an ensemble also (E, N, n_L). For several outputs, an array of shape (N,), or (E, N, 1),
            holds labels, integers from 0 to n_L − 1; they are one-hot encoded.
        learning_rate : float, or for an ensemble an array of shape (E,)
            The learning rate, above 0.
        epochs : int
            The number of passes over the samples.
        verbose_epoch : int, optional
            Report every epoch whose number, from 0, is a multiple of this; by default about ten epochs. The last epoch
            is always reported.
        verbose : bool
            Whether to print reports.
        batch_size : int or None
            The number of samples of a step: 1, as in the document; more, where the last batch of an epoch may be
            smaller; or None for the full batch.
        shuffle : bool
            Whether to shuffle the samples in every epoch.
        orders : callable, optional
            The rows of the training samples that an epoch takes, in order: ``orders(epoch)`` returns integers of shape
            (rows,), for an ensemble also (E, rows). It is called once for each epoch, and returns arrays of the same
            shape. For an order of your own, for folds, or for samples that are drawn with replacement.
        sample_weight : array of shape (N,), or for an ensemble (E, N), optional
            The relative weight of every sample; the weights are divided by their mean.
        class_weight : mapping of label to weight, or "balanced", optional
            The weights of the classes in training, multiplied with `sample_weight`; 1 for a class that is not in the
            mapping. ``"balanced"`` gives all classes the same total weight. With one output the labels are 0 and 1.
            Class weights do not apply to metrics and validation.
        validation_split : float
            The fraction of the samples, stratified by class for labels, that is held out for validation. They are
            random, but the same for every seed.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Other samples for validation after every epoch.
        metrics : sequence of str, callable or Metric
            Metrics to compute after every epoch, on the training and the validation samples: ``"accuracy"``,
            ``"binary_accuracy"``, ``"categorical_accuracy"``, ``"subset_accuracy"``, ``"r2_score"``,
            ``"mean_absolute_error"``, or custom metrics as in `xpnet.metrics`.
        patience : int, optional
            Early stopping: stop when the validation loss, or without validation the training loss, has not improved for
            this number of epochs. At the end of training the network always returns to its best epoch, see
            `best_epoch`. Each network of an ensemble returns to its own best epoch; the ensemble trains until all its
            networks have stopped improving.
        tol : float
            The minimum decrease below the best loss that is an improvement.
        schedule : callable, optional
            The learning rate schedule: one of `xpnet.schedules`, or a custom one. It counts epochs since the weights
            were initialized, not since this call. It is called for future epochs before the first epoch, to validate
            it.
        callbacks : callable or Callback, or a sequence of them
            A function is called with the network after every epoch; an `xpnet.Callback` also at the beginning and at
            the end. Callbacks may predict, copy the network, call its `stop_training`, or raise, but not change it.
            Reading `history` waits for the device.
        progress_bar : bool, optional
            Whether to show a progress bar (with tqdm); by default if reports go to a terminal.
        members_at_once : int, optional
            How many networks of an ensemble are computed together; by default as many as fit into the working memory
            of the backend.
        compile : bool or "auto"
            Whether to compile the training step: on a CPU with Numba (``pip install "xpnet[jit]"``), on a GPU as CUDA
            C. ``"auto"`` compiles on a CPU if that saves time. Compiled training differs from the other by rounding
            only.

        Raises
        ------
        TypeError, ValueError
            If an argument is invalid; the network is then unchanged. Custom parts are validated in a dry run before the
            first epoch; if one fails later, the network has the state after the last complete epoch.
        FloatingPointError
            If the loss or a parameter became NaN or infinite; the network has the state after the last finite epoch. In
            an ensemble a network that diverges stops training, its later losses are NaN, and the others continue.
        KeyboardInterrupt
            On Ctrl-C; the network has the state after the last complete epoch.
        RuntimeError
            If the network trains already, or cannot be compiled although `compile` is True.

        Examples
        --------
        Fit a sine in batches, and report epochs 0, 50 and 100:

        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> X = np.linspace(-2, 2, 100)
        >>> y = 0.5 * (np.sin(X) + 1)  # sigmoid outputs are between 0 and 1
        >>> network = NeuralNetwork([1, 10, 1], activations=["tanh", "sigmoid"], optimizer="adam", seed=0)
        >>> network.train(X, y, learning_rate=0.01, epochs=101, verbose_epoch=50, batch_size=10, shuffle=True)
        Epoch 0 Loss : 0.051...
        Epoch 50 Loss : 0.000...
        Epoch 100 Loss : 0.000...
        >>> bool(np.max(np.abs(network.predict(X) - y)) < 0.1)
        True

        Continue with validation samples, a metric and early stopping:

        >>> network.train(
        ...     X, y, 0.01, epochs=50, verbose=False, batch_size=10,
        ...     validation_split=0.2, metrics=["r2_score"], patience=10,
        ... )
        >>> list(network.history)
        ['loss', 'r2_score', 'validation_loss', 'validation_r2_score']
        >>> network.best_epoch > 100, bool(network.history["validation_r2_score"][-1] > 0.98)
        (True, True)
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
            orders=orders,
            schedule=schedule,
            members_at_once=members_at_once,
            compile=compile,
        )

    def explain_step(self, batch_size: int = 1) -> str:
        """Return the loops that a compiled training step runs, as text.

        Parameters
        ----------
        batch_size : int
            The number of samples of the step.

        Returns
        -------
        text : str
            How networks and matrix products are computed, the arrays, and the loops.

        Raises
        ------
        CannotCompile
            If the step cannot be compiled, or the backend has no compiler.

        Examples
        --------
        >>> from xpnet import NeuralNetwork
        >>> print(NeuralNetwork([3, 1], activations=["identity"], seed=0).explain_step())
        # one network after the other, ...
        ...
        for i... in range(3):
        ...
        """
        return loop.explain_step(self, batch_size)

    def train_lbfgs(
        self,
        X: Array,
        y: Array,
        epochs: int = 200,
        verbose_epoch: int | None = None,
        verbose: bool = True,
        *,
        gradient_tol: float = 1e-5,
        loss_tol: float = 0.0,
        max_evaluations: int | None = None,
        sample_weight: Array | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        validation_split: float = 0.0,
        validation_data: Sequence[Array] | None = None,
        metrics: Sequence[str | Metric] | str | Metric = (),
        patience: int | None = None,
        tol: float = 0.0,
        callbacks: Callbacks = (),
        progress_bar: bool | None = None,
    ) -> Any:
        """Train the network by L-BFGS on the full batch, with SciPy; for small data sets.

        The method is that of Liu and Nocedal (1989). It needs no learning rate and no batch size, does not use the
        optimizer of the network, and resets the optimizer state. The curvature estimate of L-BFGS is not stored: a
        second call, or a call after loading a checkpoint, starts without it, and takes other steps than one long call
        would. L-BFGS supports `l2` and `alpha`, but no ensembles, dropout, `weight_decay`, `l1` or `clip_norm`.

        Parameters
        ----------
        X, y : arrays
            The samples and targets, as for `train`.
        epochs : int
            The maximum number of iterations. Each computes the loss of all samples once or a few times. The loss of an
            epoch is the loss after its iteration.
        gradient_tol : float
            Training ends when no entry of the gradient is larger in absolute value.
        loss_tol : float
            Training ends when an iteration decreases the loss by less than this, relative to the loss.
        max_evaluations : int, optional
            The maximum number of evaluations of the loss, by default 100 for each iteration.
        verbose_epoch, verbose, sample_weight, class_weight, validation_split, validation_data, metrics, patience, tol
            As for `train`.
        callbacks, progress_bar
            As for `train`.

        Returns
        -------
        result : scipy.optimize.OptimizeResult
            The result of SciPy, with the number of iterations ``nit``, and the reason for the end, ``message``.

        Raises
        ------
        ImportError
            If SciPy is not installed.
        TypeError, ValueError, FloatingPointError, KeyboardInterrupt, RuntimeError
            As for `train`; ValueError also if the network has a setting that L-BFGS does not support.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> X = np.linspace(-1, 1, 20)
        >>> network = NeuralNetwork([1, 8, 1], activations=["tanh", "identity"], seed=0)
        >>> result = network.train_lbfgs(X, X**2, epochs=500, verbose=False)
        >>> bool(np.max(np.abs(network.predict(X) - X**2)) < 0.05)
        True
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
        how = {"gradient_tol": gradient_tol, "loss_tol": loss_tol, "max_evaluations": max_evaluations}
        return loop.train_by_lbfgs(self, options, **how)

    def stop_training(self) -> None:
        """End training after the current epoch; for callbacks.

        Raises
        ------
        RuntimeError
            If the network does not train.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> def stop_after_three_epochs(network):
        ...     if network.epochs_trained == 3:
        ...         network.stop_training()
        >>> network = NeuralNetwork([1, 3, 1], seed=0)
        >>> network.train(np.zeros(5), np.ones(5), 0.1, epochs=10, verbose=False, callbacks=stop_after_three_epochs)
        >>> network.epochs_trained
        3
        """
        run = self._run
        if run is None:
            msg = "stop_training must be called by a callback in training: the network does not train"
            raise RuntimeError(msg)
        run.stop_requested = True

    def _is_training(self) -> bool:
        run = self._run
        if run is not None and run.is_abandoned():
            run.end()  # several Ctrl-C in a row have interrupted its end
        return self._run is not None

    def _refuse_while_training(self, what: str) -> None:
        if self._is_training():
            in_callback = ": a callback may read or copy the network, or raise, but not change it"
            run = self._run
            reason = in_callback if run is None or run.thread == threading.get_ident() else " in another thread"
            msg = f"{what} is refused while the network trains{reason}"
            raise RuntimeError(msg)

    def __getstate__(self) -> dict[str, Any]:
        # A copy that a callback makes during training is a network that does not train.
        return {name: value for name, value in super().__getstate__().items() if name != "_run"}

    # ---- History

    @property
    def history(self) -> History:
        """The losses and metrics of every epoch since the weights were initialized; reading it waits for the device."""
        history = self._snapshot.history
        # During training, the history may have epochs that were not yet found to be not finite.
        return history.settled() if self._is_training() else history

    @property
    def epochs_trained(self) -> int:
        """The number of epochs since the weights were initialized."""
        return self._snapshot.history.epochs

    @property
    def epoch_loss(self) -> list[Any]:
        """The loss of every epoch since the weights were initialized; reading it waits for the device."""
        return self.history["loss"].tolist()  # type: ignore[no-any-return]

    def plot_epoch(self) -> None:
        """Plot the loss over the epochs, and show the figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")  # no window, for this example
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 3, 1], seed=0)
        >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
        >>> network.plot_epoch()
        """
        plotting.show_epoch_loss(self.history["loss"])

    @property
    def best_loss(self) -> Any:
        """The loss of `best_epoch`: a float, or for an ensemble an array of shape (E,); None without early stopping."""
        best = self._snapshot.best
        return best and (HOST.xp.asarray(best.loss, copy=True) if self.ensemble else float(best.loss))

    @property
    def best_epoch(self) -> Any:
        """The epoch, from 0, that early stopping returned to: an int, or for an ensemble an array (E,), or None."""
        best = self._snapshot.best
        return best and (HOST.xp.asarray(best.epoch, copy=True) if self.ensemble else int(best.epoch))

    # ---- Parameters and state

    def initialize_weights_deep(self, layer_list: Sequence[int]) -> dict[str, Array]:
        """Draw initial parameters for some layer sizes, with the next random numbers of the network's seed.

        The parameters of the network do not change: assign the result to `parameters` to use it.

        Parameters
        ----------
        layer_list : sequence of int
            The sizes of the layers, inputs first.

        Returns
        -------
        parameters : dict of arrays
            ``W1`` of shape (n_1, n_0), ``b1`` of shape (n_1, 1), ``W2``, …; for an ensemble with a leading axis.

        Raises
        ------
        TypeError, ValueError
            If `layer_list` is not a list of two or more positive integers.
        RuntimeError
            If the network trains.

        Examples
        --------
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([2, 4, 1], seed=0)
        >>> parameters = network.initialize_weights_deep([2, 4, 1])
        >>> {name: array.shape for name, array in parameters.items()}
        {'W1': (4, 2), 'b1': (4, 1), 'W2': (1, 4), 'b2': (1, 1)}
        >>> network.parameters = parameters
        """
        layout = Layout(layer_sizes(layer_list))
        with self._lock:
            self._refuse_while_training("initialize_weights_deep")
            snapshot = self._snapshot
            theta = self._members.draw(snapshot.draws, snapshot.backend, layout)
            self._snapshot = snapshot.replaced(draws=snapshot.draws + 1)
        return {name: layout.view(snapshot.backend.xp, theta, name) for name in layout.slots}

    def clear_weights(self) -> None:
        """Draw new initial parameters, with the next random numbers of the network's seed, and reset all training.

        Raises
        ------
        RuntimeError
            If the network trains.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 3, 1], seed=0)
        >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
        >>> network.clear_weights()
        >>> network.epochs_trained, network.epoch_loss
        (0, [])
        """
        with self._lock:
            self._refuse_while_training("clear_weights")
            snapshot = self._snapshot
            new = Progress.initial(snapshot.settings, snapshot.backend, snapshot.draws)
            self._clear_cache()
            self._snapshot = new

    @property
    def parameters(self) -> Parameters:
        """The weights and biases by name, views into `theta`; assigning all of them resets the optimizer state."""
        return super().parameters

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        names = self.parameters.keys()
        if not isinstance(values, Mapping) or values.keys() != names:
            got = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
            msg = f"parameters must be a mapping with the keys {', '.join(names)}, got {got}"
            raise ValueError(msg)
        with self._lock:
            self._refuse_while_training("assigning parameters")
            theta, snapshot = self.parameters.replaced(values), self._snapshot
            optimizer_state = new_optimizer_state(snapshot.settings, snapshot.backend, theta)
            self._snapshot = snapshot.with_parameters(theta, optimizer_state)

    def clear_history(self) -> None:
        """Delete the recorded losses and metrics; keep everything else, including the number of epochs.

        Further training is the same as without this call, except for a schedule that depends on the losses, such as
        reduce on plateau. In a copy or checkpoint made during a training with `patience`, the last epoch is kept,
        because early stopping needs it.

        Raises
        ------
        RuntimeError
            If the network trains.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 3, 1], seed=0)
        >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
        >>> network.clear_history()
        >>> network.epochs_trained, network.epoch_loss
        (10, [])
        """
        with self._lock:
            self._refuse_while_training("clear_history")
            snapshot = self._snapshot
            self._snapshot = snapshot.replaced(
                history=snapshot.history.cleared(last=snapshot.early_stopping is not None)
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state of training, as copies on the host; `load_state_dict` restores it.

        Returns
        -------
        state : dict
            ``theta``, an array of shape (P,) or (E, P); ``optimizer``, its kind, and ``optimizer_state``, a list of
            arrays; ``history``, arrays of shape (epochs,) or (epochs, E) by name; ``first_epoch``, the number of the
            first epoch in them; ``last_measured``, the names measured in the last one; ``seed``, and ``draws``, how
            often weights were drawn from it; ``form``, the number of axes of targets in training and the dtype of
            labels, or None; ``best``, the ``loss`` and the ``epoch`` that early stopping returned to, or None; and
            ``early_stopping``, the state of early stopping during a training with `patience`, else None.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> network = NeuralNetwork([1, 3, 1], seed=0)
        >>> network.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
        >>> state = network.state_dict()
        >>> state["theta"].shape, state["optimizer"], state["history"]["loss"].shape
        ((10,), 'sgd', (10,))
        """
        return self._snapshot.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of another network with the same layers and optimizer, including its seed.

        Parameters
        ----------
        state : mapping
            The `state_dict` of the other network; its arrays are copied.

        Raises
        ------
        TypeError, ValueError
            If the state is invalid, or that of other layers, another optimizer, or another number of networks; the
            network is then unchanged.
        RuntimeError
            If the network trains.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> trained, network = NeuralNetwork([1, 3, 1], seed=0), NeuralNetwork([1, 3, 1], seed=1)
        >>> trained.train(np.zeros(5), np.ones(5), learning_rate=0.1, epochs=10, verbose=False)
        >>> network.load_state_dict(trained.state_dict())
        >>> bool(np.all(network.theta == trained.theta)), network.epochs_trained, network.seed
        (True, 10, 0)
        """
        with self._lock:
            self._refuse_while_training("load_state_dict")
            loaded = Progress.of(self._snapshot.settings, self._snapshot.backend, state)
            self._clear_cache()
            self._snapshot = loaded

    # ---- The networks of an ensemble

    def member(self, i: int) -> NeuralNetwork:
        """Return one network of an ensemble as a single network, with its seed, settings, parameters and history.

        Parameters
        ----------
        i : int
            The index of the network, from 0; negative indices count from the end.

        Returns
        -------
        network : NeuralNetwork
            A copy, which can be trained further.

        Raises
        ------
        IndexError
            If the index is out of range.
        TypeError
            If the index is not an integer.
        ValueError
            If the network is not an ensemble.

        Examples
        --------
        >>> from xpnet import NeuralNetwork
        >>> ensemble = NeuralNetwork([1, 3, 1], ensemble=4, seed=10)
        >>> ensemble.theta.shape
        (4, 10)
        >>> last = ensemble.member(-1)
        >>> last.seed, last.theta.shape
        (13, (10,))
        """
        if self.ensemble is None:
            msg = "member must be called on an ensemble, got a network that is not an ensemble"
            raise ValueError(msg)
        if not is_integer(i):
            msg = f"i must be the index of a network of the ensemble, an integer, got {repr(i)}"
            raise TypeError(msg)
        index = int(i)
        if not -self.ensemble <= index < self.ensemble:
            msg = f"i must be between {-self.ensemble} and {self.ensemble - 1}, got {i}"
            raise IndexError(msg)
        return NeuralNetwork._of(self._snapshot.member(index % self.ensemble), follows_data=self._follows_data)

    @staticmethod
    def _of(progress: Progress, *, follows_data: bool) -> NeuralNetwork:
        """Return a network with a given state, without drawing parameters."""
        network = NeuralNetwork.__new__(NeuralNetwork)
        StepByStep.__init__(network, progress, follows_data=follows_data)
        return network

    def best_member_index(self) -> int:
        """Return the index of the network with the lowest loss in an ensemble.

        The loss is the validation loss of the last epoch, or without validation the training loss; after early stopping
        it is the loss of each network's best epoch.

        Returns
        -------
        i : int
            The index, from 0.

        Raises
        ------
        ValueError
            If the network is not an ensemble, has no recorded loss, or all its networks diverged.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> ensemble = NeuralNetwork([1, 1], activations=["identity"], ensemble=3, seed=0)
        >>> X = np.array([-1.0, 0.0, 1.0])
        >>> ensemble.train(X, 2 * X, learning_rate=[0.001, 0.5, 0.01], epochs=10, verbose=False)
        >>> ensemble.best_member_index()
        1
        """
        if self.ensemble is None:
            msg = "best_member must be called on an ensemble, got a network that is not an ensemble"
            raise ValueError(msg)
        best, history = self._snapshot.best, self._snapshot.history
        if not (best or history.last_names):
            msg = "best_member must be called on a trained ensemble, got one without a recorded loss"
            raise ValueError(msg)
        losses = best.loss if best else history.last()[history.monitored]
        finite = HOST.xp.isfinite(losses)
        if not bool(HOST.xp.any(finite)):
            msg = (
                "best_member must be called on an ensemble with a finite loss, got losses that are all NaN or infinite"
            )
            raise ValueError(msg)
        return int(HOST.xp.argmin(HOST.xp.where(finite, losses, HOST.xp.inf)))

    def best_member(self) -> NeuralNetwork:
        """Return the network with the lowest loss in an ensemble as a single network: see `best_member_index`.

        Returns
        -------
        network : NeuralNetwork
            A copy, which can be trained further.

        Raises
        ------
        ValueError
            If the network is not an ensemble, has no recorded loss, or all its networks diverged.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet import NeuralNetwork
        >>> ensemble = NeuralNetwork([1, 1], activations=["identity"], ensemble=3, seed=0)
        >>> X = np.array([-1.0, 0.0, 1.0])
        >>> ensemble.train(X, 2 * X, learning_rate=[0.001, 0.5, 0.01], epochs=100, verbose=False)
        >>> best = ensemble.best_member()
        >>> best.seed, bool(np.allclose(best.predict(X), 2 * X))
        (1, True)
        """
        return self.member(self.best_member_index())
