(function () {
  "use strict";
  var tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.appendChild(tip);
  var rule = null;

  function hide() {
    tip.hidden = true;
    if (rule) { rule.remove(); rule = null; }
  }
  function show(text, event) {
    tip.textContent = text;
    tip.hidden = false;
    var left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    var top = event.clientY + 18;
    if (top + tip.offsetHeight > innerHeight) { top = event.clientY - tip.offsetHeight - 10; }
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, top) + "px";
  }
  // The values of all lines that are switched on, at the point nearest to the pointer.
  function values(plot, event) {
    var x = (event.clientX - plot.getBoundingClientRect().left) *
      plot.viewBox.baseVal.width / plot.getBoundingClientRect().width;
    var lines = [], nearest = null;
    plot.querySelectorAll("g[data-series]:not(.off)").forEach(function (line) {
      var best = null, distance = 0;
      line.querySelectorAll("circle").forEach(function (point) {
        var away = Math.abs(point.cx.baseVal.value - x);
        if (!best || away < distance) { best = point; distance = away; }
      });
      if (!best) { return; }
      lines.push(line.dataset.name + ": " + best.textContent);
      if (nearest === null || distance < Math.abs(nearest - x)) { nearest = best.cx.baseVal.value; }
    });
    if (!lines.length) { return; }
    rule = document.createElementNS("http://www.w3.org/2000/svg", "path");
    rule.setAttribute("class", "rule");
    rule.setAttribute("d", "M" + nearest + " " + plot.dataset.top + "V" + plot.dataset.bottom);
    plot.prepend(rule);
    show(lines.join("\n"), event);
  }
  function look(event) {
    hide();
    var at = event.target;
    if (!at.closest) { return; }
    var plot = at.closest("svg.plot");
    if (plot) { values(plot, event); return; }
    var cell = at.closest("rect");
    var title = cell && cell.querySelector("title");
    if (title) { cell.dataset.tip = title.textContent; title.remove(); }
    var named = at.closest("[title]");
    if (named) { named.dataset.tip = named.title; named.removeAttribute("title"); }
    var known = at.closest("[data-tip]");
    if (known) { show(known.dataset.tip, event); }
  }
  document.addEventListener("pointermove", look);
  document.addEventListener("pointerdown", look);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("click", function (event) {
    var key = event.target.closest && event.target.closest(".legend button");
    if (!key) { return; }
    var on = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", String(on));
    (key.closest("figure") || document)
      .querySelectorAll('[data-series="' + key.dataset.of + '"]')
      .forEach(function (part) { part.classList.toggle("off", !on); });
  });
})();
