"""Reports: one self-contained HTML file, from plain dictionaries that any station can fill.

Studies have a module of their own, `mesomer.report.study`, which reads a study folder; several of them are joined by
`mesomer.report.study_comparison`. Neither is imported here.

A report loads nothing from elsewhere: style, figures (SVG) and molecules (SVG) stand in the file; it needs no script.
It reads on a phone, on paper and with a dark theme; every figure has a title, units and a text alternative.

`finetune_report(data)` and `comparison_report(data)` return the HTML text. Unless marked "optional" a key is required;
lists may be numpy arrays; a missing number is NaN or None. Keys that the report does not know are an error, so that a
misspelt one cannot vanish. Above `finetune.FIGURED_TARGETS` targets only the first get figures; the table has all.

`finetune_report`:

    title        str               heading, e.g. "Fine-tuning batmannet-1 on data.csv"
    summary      list[(str, str)]  facts shown as a list: ("Molecules", "1,128 used, 3 rejected"), ...
    warnings     list[str]         data warnings, one sentence each; may be empty
    metrics      list[dict]        rows of the table, in order:
                                   target, metric (e.g. "rmse"), mean, sd (None with one split), n (number of splits),
                                   trivial (optional: the same metric of the mean or majority predictor)
    curves       list[dict]        one per trained member: label ("split 1, member 1"), epoch, train_loss, valid_loss
                                   (sequences of one length, NaN where not measured), best_epoch (optional)
    targets      list[dict]        out-of-fold (test) results, one dict per target; all sequences have one length, one
                                   entry per molecule and split:
                                   name, type ("regression" | "binary" | "multiclass"), unit (str or None),
                                   smiles, row (1-based row of the table), split (label of the split it comes from),
                                   truth (number; class index for the class types), prediction (number; probability of
                                   the positive class; for multiclass an array [n, classes] of probabilities),
                                   similarity (optional: Tanimoto similarity to the nearest training molecule),
                                   low, high (optional, regression: 90 % interval), classes (class types: list of names)
    costs        list[(str, str)]  ("Training", "73 s on 2 cores"), ("Trained parameters", "3,502,081"), ...
    method       str               one paragraph, ready to paste
    files        list[(str, str)]  (file name, what it holds)
    next         list[str]         commands to run next; may be empty

`comparison_report`:

    title, summary, warnings, costs, method, files, next: as above
    sentence     str               the result in one honest sentence; opens the report
    limits       list[str]         what cannot be concluded, one sentence each
    target       dict              name, unit (str or None)
    metric       dict              key ("rmse"), label ("RMSE"), unit (str or None), better ("lower" | "higher")
    arms         list[dict]        name (short key), label, scores (one per split, in the order of `splits`), seconds,
                                   parameters (int or None), other (dict: label of a further metric -> its mean)
    splits       list[str]         labels
    differences  list[dict]        rows of the second table: label ("pre-trained minus random weights"), mean,
                                   low, high (95 % corrected resampled t over the splits, None when not possible),
                                   boot_low, boot_high (95 % bootstrap over the test molecules), wins ("2 of 3")
    curves       dict              arm name -> list as `curves` above (arms without training epochs are absent)
    predictions  dict              arm name -> dict with truth, prediction: out-of-fold, one per molecule and split
    molecules    dict (optional)   smiles, row, truth, prediction: of the first arm, from which the worst are drawn
"""

from mesomer.report.comparison import comparison_report
from mesomer.report.finetune import finetune_report

__all__ = ["comparison_report", "finetune_report"]
