"""The study: does pre-training help on these molecules, and could this study have seen it?

    table -> the same stored splits for all arms -> pilot and plan -> cells (arm x fold) -> tables -> report

`design`: options, design, cells; `molecules`, `units`, `checks`, `overlap` (its hashes: `skeletons`), `prepare`: what
is known before training; `pilot`, `plan`: what can be seen, and what it costs; `arms`: who is compared; `cells`,
`processes`: one arm on one fold, several at once; `scoring`, `results`: tables; `sofar`: the interval while it runs;
`reuse`: cells of another study; `run`: all of it in order. Several studies: `campaign`, for `presets` and `grid_run`
(`grid`: the file, `grid_models`: its pre-trainings).
"""
