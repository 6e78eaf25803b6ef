"""What is said of every data set and model of this package, in the report and on the model card."""

from apt_lightning.common.traits import STABILITY

__all__ = ["APPARENT", "DRAWN", "FORBIDDEN", "INTENDED", "LIMITS", "STABILITY"]

INTENDED = (
    "Research on methods for apparent personality and multimodal learning.",
    "Teaching, reproducing published figures, and study of bias in first impressions.",
)
FORBIDDEN = (
    "Hiring, promotion, admission, credit, insurance, policing, or any other decision about a person.",
    "Ranking, filtering or profiling people, alone or together with other data.",
    "Scoring people who do not know of it or have not agreed.",
    "Diagnosis, or any claim about somebody's real character, health or feelings.",
)
APPARENT = (
    "The labels are impressions of strangers, with the strangers' prejudices. Apparent personality is not actual "
    "personality, and a model that predicts the first says nothing certain about the second."
)
DRAWN = (
    "The clips are drawn faces with synthesised speech and random labels: scores say that the software works, nothing "
    "about people."
)
LIMITS = {
    "Leakage": "On the official split of First Impressions 1,680 of 2,000 test clips have a training clip of the "
    "same source video, and a look-up of the source without any content scores about what trained models score. Read "
    "the scores of unseen sources, or train on source-disjoint folds.",
    "Regression to the mean": "Scores of extreme clips are too moderate.",
    "One culture, one medium": "English-speaking video bloggers, rated by crowd workers of one platform. Nothing is "
    "known of other languages, ages, cameras or situations.",
    "Groups": "Errors can differ between groups of people even where no difference is shown.",
    "Intervals": "They hold on average over clips like those of validation, not for each person.",
    "Licences": "openSMILE, which computes the acoustic features, is free for non-commercial research only.",
}
