"""The study: does pre-training help on these molecules, and could this study have seen it?

    table -> the same stored splits for all arms -> pilot and plan -> cells (arm x fold) -> tables -> report

`design`: options, design, cells; `molecules`, `checks`, `overlap`, `prepare`: what is known before training; `pilot`,
`plan`: what can be seen, and what it costs; `arms`: who is compared; `cells`: one arm on one fold; `results`: tables;
`run`: all of it in order.
"""
