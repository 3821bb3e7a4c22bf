"""Call: some requests on their way through a runner, to pictures."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from PIL import Image
from torch import Tensor

from hawk.decoding.request import Finished, Request
from hawk.decoding.runner import RequestRunner
from hawk.pictures import Callback, Failure, Picture, Step


@dataclass(kw_only=True)
class Call:
    """One call of a pipeline.

    Attributes:
        session: Runner that makes the images of this call alone.
        requests: Images to make.
        draw: Function from tokens, which may be too few, to a picture.
        callback: Function that is called with every image after every step, and may stop it.
        places: Indices of the requests that are not done, by ticket.
    """

    session: RequestRunner
    requests: Sequence[Request]
    draw: Callable[[Tensor], Image.Image]
    callback: Callback | None
    places: dict[int, int] = field(default_factory=dict)

    def stream(self) -> Generator[Picture | Failure, None, None]:
        """Pictures and failures as they happen; nothing of an image that is stopped."""
        if self.session.busy:
            raise ValueError("this pipeline is in the middle of another call: finish that first")
        try:
            for place, request in enumerate(self.requests):
                self.places[self.session.submit(request)] = place
            while self.session.busy:
                for finished in self.session.step():
                    yield self._made(finished)
                self._tell()
        finally:
            for ticket in self.places:  # nobody waits for the rest
                self.session.cancel(ticket)

    def _made(self, finished: Finished) -> Picture | Failure:
        place = self.places.pop(finished.ticket)
        if finished.error is not None:
            return Failure(place=place, request=finished.request, error=finished.error)
        return Picture(
            place=place,
            request=finished.request,
            image=self.draw(finished.tokens_T),
            tokens=finished.tokens_T.tolist(),
            commits=finished.commits,
            stats=finished.stats,
        )

    def _tell(self) -> None:
        for ticket, place in list(self.places.items()) if self.callback else []:
            progress = self.session.progress(ticket)
            if progress is None:  # it waits
                continue
            step = Step(
                place=place,
                request=self.requests[place],
                commits=progress.commits,
                tokens_T=progress.tokens_T,
                draw=self.draw,
            )
            if self.callback and self.callback(step):
                self.session.cancel(ticket)
                del self.places[ticket]
