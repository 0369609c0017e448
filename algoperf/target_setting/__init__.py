"""Sets a workload's targets by the benchmark's procedure: `python -m algoperf.target_setting --workload=wmt_mini`.

Source of the procedure: Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms", section 4.3.

1. Tune: AdamW, NadamW, Nesterov momentum and heavy-ball momentum, each at quasi-random points of its search space, and
   the reference at its own configuration, with the target out of reach. A run has the length of its schedule: 75 % of
   the step hint, or `--steps`.
2. Repeat: the configuration with the best validation value, over several seeds.
3. Validation target: the median over seeds of the best validation value. Test target: the worst test value among the
   runs that hit the validation target, at the evaluation at which they hit it. Both are rounded to four digits, to the
   easier side.
4. Resolution: heavy-ball momentum at a hundredth of its learning rate, once; it must miss the target.
5. Reference: NadamW at the best of its points in the tuning stage, annealed over the step hint, over seeds until both
   targets, in each framework, one run at a time, within the budget. Half of the seeds or more must hit.
6. Budget: `step_hint` is the length of the runs divided by 0.75. A mini's budget is as long, in reference steps; its
   seconds are what that takes at the reference's rate in the slower framework. The evaluation period is chosen in
   reference steps; the steps to the target, for estimates, are those of the slower framework.

With `--horizon=K` the runs are K times as long and set targets alone; `WorkloadDefinition.horizons` holds them.

Every run is a process of its own whose logs are kept; the same command resumes, and ends by
writing `<work_dir>/<workload>.json`, with the evaluations of all runs, and a table for review,
`<work_dir>/<workload>.md`. `--check=FOLDER` computes everything again from such files and compares the definitions.
"""
