(() => {
  const root = document.getElementById("tier0");
  const byId = (id) => document.getElementById(id);
  const search = byId("tier0-search");
  root.classList.add("js");

  const open = (element) => {
    for (let inner = element; inner; inner = inner.parentElement) {
      if (inner.tagName === "DETAILS") inner.open = true;
    }
  };
  const follow = () => {
    const target = location.hash ? byId(decodeURIComponent(location.hash.slice(1))) : null;
    if (target === null || !root.contains(target)) return;
    open(target);
    target.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();

  root.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (button === null) return;
    const source = byId(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    const label = button.dataset.label ??= button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 2000);
  });

  if (search === null) return;
  const group = byId("tier0-group");
  const severity = byId("tier0-severity");
  const found = byId("tier0-found");
  const groups = [...root.querySelectorAll(".group")];
  const wasOpen = new Map(groups.map((one) => [one, one.open]));
  const shown = () => root.querySelector("[name=tier0-shown]:checked").id.replace("tier0-shown-", "");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = shown();
    const isActive = words.length > 0 || group.value !== "" || severity.value !== "" || status !== "all";
    let count = 0;
    for (const one of groups) {
      let left = 0;
      for (const check of one.querySelectorAll(".check")) {
        const text = check.textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word))
          && (group.value === "" || one.dataset.group === group.value)
          && (severity.value === "" || check.dataset.severity === severity.value)
          && (status === "all" || check.classList.contains(status));
        check.hidden = !fits;
        left += fits ? 1 : 0;
      }
      one.hidden = left === 0;
      one.open = isActive ? left > 0 : wasOpen.get(one);
      count += left;
    }
    found.textContent = isActive ? `${count} ${count === 1 ? "check" : "checks"}` : "";
  };
  search.addEventListener("input", apply);
  root.querySelector(".tools").addEventListener("change", apply);
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input[type=search], input[type=text], textarea, select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      apply();
      search.blur();
    }
  });
})();
