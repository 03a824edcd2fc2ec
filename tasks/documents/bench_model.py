"""How fast are n-gram features, against scikit-learn's on the same texts in the same run."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from policy.ngrams import NgramSpec, transform

_OPENINGS = ("今天", "昨晚", "第二次", "这家店", "朋友推荐", "中午", "一直", "这回")
_SUBJECTS = ("送餐", "味道", "包装", "分量", "客服", "米饭", "骑手", "价格", "汤", "配菜")
_VERDICTS = ("很快", "太慢了", "不错", "一般", "洒了一半", "凉了", "挺满意", "偏贵", "少了一份")
_ENDINGS = ("，下次还来。", "！", "，希望改进", "，谢谢", "……", "，不会再点了！", "")
_ROUNDS = 3


def reviews(rows: int, seed: int = 1) -> list[str]:
    """Made-up short Chinese reviews, about 23 code points each, as long as real ones."""
    draw = random.Random(seed)

    def clause() -> str:
        return draw.choice(_SUBJECTS) + draw.choice(_VERDICTS)

    def review() -> str:
        clauses = "，".join(clause() for _ in range(draw.randint(1, 5)))
        return f"{draw.choice(_OPENINGS)}{clauses}{draw.choice(_ENDINGS)}"

    return [review() for _ in range(rows)]


def bench_features(texts: Sequence[str] | None = None) -> dict[str, Any]:
    """Texts a second through our features and through `TfidfVectorizer` (char 1-3), and the ratio.

    Without `texts`, 20,000 made-up reviews. The best of three rounds each, taken in turn, so that
    a busy machine slows both alike; vocabulary building is not counted against either.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = reviews(20_000) if texts is None else texts
    spec = NgramSpec()
    plain = TfidfVectorizer(analyzer="char", ngram_range=(1, 3)).fit(texts)
    transform(texts[:100], spec)
    rounds = [
        (_seconds(lambda: transform(texts, spec)), _seconds(lambda: plain.transform(texts)))
        for _ in range(_ROUNDS)
    ]
    ours, theirs = (len(texts) / min(column) for column in zip(*rounds, strict=True))
    return {
        "rows": len(texts),
        "mean_length": round(sum(map(len, texts)) / max(1, len(texts)), 1),
        "features_per_second": round(ours),
        "tfidf_per_second": round(theirs),
        "ratio": round(ours / theirs, 2),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
