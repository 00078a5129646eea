"""Evaluation: benchmarks in, scores with their error bars and yardsticks out.

The road of one run (`run_benchmark.py`)::

    benchmarks.load -> generation.predict -> predictions.jsonl -> <task module>.score -> results.json
                                                                                      -> table, preview.png

Scores are computed from the predictions alone, so that they can be recomputed without the model. To add a
task, write one module with the functions of `tasks.TaskModule` and name it in `tasks.TASK_MODULES`; to add
a benchmark, add one row to `registry.BENCHMARKS`.
"""
