"""A ``credit-es`` whose rebuild starts shards that do not follow the end of their parent."""

from credit_es.cli.main import main
from projections import spread

if __name__ == "__main__":
    vars(spread)["WORK"] = "import projections.spread as s; s._follow = lambda _: None; s.work()"
    main()
