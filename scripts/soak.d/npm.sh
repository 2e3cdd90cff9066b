# npm ci of the project's own packages, and node running from them.
cp "$SOAK_PROJECT"/package.json "$SOAK_PROJECT"/package-lock.json .
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
npm ls --all >/dev/null || true
node_modules/.bin/tsc --version
cp -r "$SOAK_PROJECT"/src "$SOAK_PROJECT"/tsconfig*.json .
if [ "$SOAK_LENGTH" = long ]; then
  node_modules/.bin/tsc -p tsconfig.build.json --outDir out
  diff -r out "$SOAK_PROJECT/dist" --exclude='.built' | grep -v 'No newline' | head -n 3 || true
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
fi
echo "$(find node_modules -type f | wc -l) files installed"
