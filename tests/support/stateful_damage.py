"""Files of a store that are damaged behind everybody's back, or cannot be read for a while."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from b10_store.remote.folder_names import PACKS
from tests.support.packed import whole_file
from tests.support.stateful_stalls import StallMachine


class DamageMachine(StallMachine):
    """The same, where files are damaged and cannot be read at times."""

    @rule(
        which=st.integers(0, 20),
        how=st.sampled_from(["flip", "cut", "delete", "mix up"]),
        at=st.floats(0, 1),
    )
    def damage(self, which: int, how: str, at: float) -> None:
        """A file in packs/ or manifests/ is changed behind everybody's back."""
        files = sorted(self.world.names(PACKS) | self.world.names("manifests"))
        if not files:
            return
        name = files[which % len(files)]
        data = whole_file(self.world.raw, name)
        if how == "delete":
            self.world.raw.delete(name)
        else:
            others = [whole_file(self.world.raw, file) for file in files if file != name]
            # The bytes of another file, best of one that looks like it.
            other = min(others, key=lambda found: abs(len(found) - len(data)), default=data)
            place = max(0, min(int(at * len(data)), len(data) - 1))
            bit = bytes([data[place] ^ 4]) if data else b""
            harmed = data[:place] if how == "cut" else data[:place] + bit + data[place + 1 :]
            harmed = other if how == "mix up" else harmed
            folder, _, base = name.rpartition("/")
            self.world.raw.create(folder, base, [harmed])
        self.model.was_damaged = True
        for flying in self.flying:
            flying.was_harmed = True
        self.model.seen(self.world.observer.look())
        for address in self.model.view.offers:
            tree = self.world.new_load(address)
            self.world.check_tree(address, {}, tree, whole=not self.world.mount.hidden)

    @rule(which=st.integers(0, 9))
    def hide_a_manifest(self, which: int) -> None:
        """A manifest cannot be read for a while."""
        names = sorted(self.world.names("manifests"))
        if names:
            self.world.mount.hidden.add(names[which % len(names)])
            self.was_hidden = True

    @precondition(lambda self: self.world.mount.hidden)
    @rule()
    def show_all_manifests(self) -> None:
        """They can be read again."""
        self.world.mount.hidden.clear()
