// Shows what was dropped before it is sent. Without this the form works just the same.
(() => {
  const input = document.getElementById("files");
  const chosen = document.getElementById("chosen");
  const zone = input && input.closest(".drop");
  if (!zone) return;

  function show() {
    const files = [...input.files];
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const names = files.slice(0, 8).map((file) => file.name).join(", ");
    const more = files.length > 8 ? ` and ${files.length - 8} more` : "";
    chosen.textContent = files.length ? `${files.length} chosen, ${Math.ceil(size / 1000)} kB: ${names}${more}` : "";
  }

  input.addEventListener("change", show);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    show();
  });
})();
