import { defineConfig } from "vite";

// Names without hashes, so that the built files can be committed and compared; nothing inline, so that the page's
// security policy can forbid inline scripts.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../src/layerloom/editor/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: {
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  worker: { format: "es", rollupOptions: { output: { entryFileNames: "[name].js" } } },
});
