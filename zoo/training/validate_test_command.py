"""`Evaluation`: `validate` and `test`."""

import contextlib
import shutil

from lightning.pytorch.callbacks import Callback

from datamodules.errors import InputError
from zoo.core.classifier import Stage
from zoo.runs import run_directory
from zoo.training import processes
from zoo.training.lightning_cli import ZooCLI
from zoo.training.trainer_command import TrainerCommand


class Evaluation(TrainerCommand):
    """Evaluates a checkpoint on the validation set or the test set, and writes the results beside it."""

    def callbacks(self, cli: ZooCLI, others: list[Callback]) -> list[Callback]:
        """Return the callbacks of the trainer."""
        return [*super().callbacks(cli, others), self.graceful_stop]

    def run(self) -> None:
        """Run the command.

        Raises:
            InputError: if there is nothing to evaluate on; RunError: if the run ends before its time.
        """
        assert self.origin.path is not None
        command = self.command_line.command
        self.open_data(command)
        if command == "validate" and self.data.val is None:
            raise InputError("--data.val_size=0 leaves nothing to validate on: give the size that the run had")
        self.trainer.profile_dir = run_directory.folder_of(self.origin.path, run_directory.PROFILE)
        processes.say(self.data.describe())
        with self.attended():
            evaluate = self.trainer.test if command == "test" else self.trainer.validate
            evaluate(self.model, self.data, ckpt_path=self.config.ckpt_path, weights_only=True, verbose=False)
            if processes.is_first():
                self._report_beside_checkpoint()

    def _report_beside_checkpoint(self) -> None:
        assert self.origin.path is not None
        stage: Stage = "test" if self.command_line.command == "test" else "val"
        if stage not in self.model.results:
            raise InputError(f"nothing was evaluated: --trainer.limit_{stage}_batches is 0")
        directory = run_directory.create(run_directory.folder_of(self.origin.path, stage).parent, stage)
        try:
            self.report(stage, str(self.origin.path), directory, {})
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):  # it holds the results of others
                directory.parent.rmdir()
            raise
