"""Score a clip and plot what moved its scores; run it after `train.py`, in the same folder."""

# %% One call, from a checkpoint alone. Scores are of apparent, not actual, personality.
from matplotlib.figure import Figure

import apt_lightning as apt

clip = next(clip for clip in apt.Store.open("store").clips if clip.split == "test" and clip.transcript)
result = apt.Scorer("runs/stage4.ckpt").score(clip.path, clip.transcript, explain=True)
print(result["clip"], result["traits"])

# %% Each modality's share; with the score without any of them, the shares add up to the score.
figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
for i, (modality, shares) in enumerate(result["shapley"].items()):
    places = [place + 0.25 * (i - 1) for place in range(len(shares))]
    axes.bar(places, list(shares.values()), width=0.22, label=modality)
axes.set_xticks(range(len(apt.TRAITS)), ["emotional stability" if t == "neuroticism" else t for t in apt.TRAITS])
axes.axhline(0, color="grey", linewidth=0.8)
axes.set_ylabel("share of the score")
axes.legend()
figure.savefig("shares.png")
