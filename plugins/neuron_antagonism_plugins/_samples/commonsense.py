"""Generated questions about everyday facts of four relations, asked in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from neuron_antagonism import Item
from neuron_antagonism_plugins._samples._split import number, part

_TRAIN = 70
_WRONG = 4

_FACTS = {
    "found": "cow/barn fish/lake book/library bread/bakery plane/airport star/sky camel/desert "
    "pillow/bed milk/fridge judge/court actor/stage monkey/jungle letter/mailbox coin/purse "
    "bee/hive spider/web tooth/mouth shell/beach train/station coal/mine",
    "used": "knife/cutting broom/sweeping pen/writing oven/baking soap/washing shovel/digging needle/sewing "
    "ladder/climbing lamp/reading kettle/boiling hammer/nailing razor/shaving towel/drying brush/painting "
    "boat/sailing scale/weighing ruler/measuring glue/sticking chair/sitting rod/fishing",
    "made": "window/glass table/wood sweater/wool wall/bricks tyre/rubber spoon/silver cheese/cream "
    "wine/grapes shirt/cotton shoe/leather vase/clay necklace/gold paper/pulp rope/hemp nail/iron "
    "omelette/eggs jam/berries candle/wax bucket/plastic statue/marble",
    "can": "tap/drip owl/hoot sheep/bleat frog/croak parrot/talk lion/roar baby/crawl flower/bloom "
    "bell/ring ice/melt fire/burn volcano/erupt clock/tick wolf/howl cat/purr duck/quack "
    "balloon/pop mirror/reflect ball/bounce magnet/attract",
}

_FORWARD = {
    "found": ("where do people find the {} ?", "in which place is the {} ?", "the {} is seen in a what ?"),
    "used": ("what is the {} used for ?", "people need the {} for what ?", "which work needs the {} ?"),
    "made": ("what is the {} made of ?", "from what do people make the {} ?", "the {} comes from what ?"),
    "can": ("what can the {} do ?", "which thing does the {} do ?", "the {} is able to do what ?"),
}
_BACKWARD = {
    "found": ("what do people find in the {} ?", "which thing is in the {} ?", "the {} has what in it ?"),
    "used": ("what is used for {} ?", "people need what for {} ?", "which tool is for {} ?"),
    "made": ("what is made of {} ?", "people make what from {} ?", "which thing comes from {} ?"),
    "can": ("what can {} ?", "which thing is able to {} ?", "what is known to {} ?"),
}
_OPENINGS = ("", "tell me : ", "please say : ")


def items() -> Iterator[Item]:
    """Every fact in both directions and all phrasings."""
    for relation, written in _FACTS.items():
        facts = [tuple(fact.split("/")) for fact in written.split()]
        for place, frames in enumerate((_FORWARD[relation], _BACKWARD[relation])):
            pool = [fact[1 - place] for fact in facts]
            for fact in facts:
                for frame in frames:
                    for opening in _OPENINGS:
                        yield _item(opening + frame.format(fact[place]), fact[1 - place], pool)


def _item(text: str, answer: str, pool: list[str]) -> Item:
    others = sorted(set(pool) - {answer}, key=lambda other: number(f"{text}|{other}", 10**9))
    return Item(text, answer, tuple(others[:_WRONG]), part=part(text, _TRAIN))
