"""Making the embedded model, a command a stage: prepare (photographs and their manifest), fit (training and export),
plot (the log); `sdf calibrate` makes its schedules, `sdf bench rd` judges it.
"""
